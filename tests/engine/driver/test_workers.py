# SPDX-License-Identifier: Apache-2.0
"""Workers: when a task may start, and that a slow GPU delays no other."""

import threading

import pytest
from support.waiting import LIMIT_SECONDS, is_waited_for, until

from hamid.core.errors import DriverHung
from hamid.engine.driver.workers import Workers


@pytest.fixture
def workers():
    made = Workers(10.0)
    yield made
    made.close()


def test_tasks_apart_follow_each_other(workers):
    """With all the time between them that they need, no two run at the same time, in the order given."""
    order, inside, most = [], [], []

    def task(key):
        def work(_worker):
            inside.append(key)
            # The next one may begin as long as no task waits for the end of this one.
            until(lambda: len(inside) > 1 or is_waited_for(workers._condition))
            most.append(len(inside))
            inside.remove(key)
            order.append(key)

        return work

    workers.run({key: task(key) for key in range(8)}, apart_seconds=LIMIT_SECONDS)
    assert order == list(range(8))
    assert set(most) == {1}


def test_tasks_apart_do_not_wait_for_a_slow_one(workers):
    """The first ends only once the last has begun, which it does since apart is no order."""
    last_began = threading.Event()

    def first(_worker):
        assert last_began.wait(LIMIT_SECONDS)

    def last(_worker):
        last_began.set()

    outcomes = workers.run({0: first, 1: lambda _worker: None, 2: last}, apart_seconds=0.02)
    assert [outcomes[key].error for key in range(3)] == [None] * 3


def test_a_parked_worker_says_what_hangs():
    """The error names the call and the GPU, and later tasks for that GPU fail at once while others are served."""
    workers = Workers(0.1)
    release = threading.Event()
    first = workers.run({0: lambda worker: worker.call("nvmlStuck", release.wait), 1: lambda worker: 1})
    assert isinstance(first[0].error, DriverHung)
    assert "nvmlStuck on GPU 0" in str(first[0].error)
    assert first[1].get() == 1
    workers._timeout = 3600.0  # a run that waits for the parked one does not come back within this test
    ran = []
    second = workers.run({0: lambda worker: ran.append(0), 1: lambda worker: ran.append(1)})
    assert isinstance(second[0].error, DriverHung)
    assert ran == [1]
    release.set()
    workers.close()
