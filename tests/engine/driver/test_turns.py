# SPDX-License-Identifier: Apache-2.0
"""Turns: one thread at a time works on a claim or a run."""

import inspect
import threading

import pytest
from support.waiting import inside, until

from hamid.engine.driver.turns import Turns


def test_only_the_first_thread_may_work_on_a_name():
    """Others are told so at once, other names are free, and the end of a refused turn changes nothing."""
    turns = Turns()
    with turns.alone("claim 1") as first:
        for _ in range(2):
            with turns.alone("claim 1") as second, turns.alone("claim 2") as other:
                assert (first, second, other) == (True, False, True)
    with turns.alone("claim 1") as again:
        assert again


def test_a_turn_ends_with_an_exception_too():
    """A thread that fails leaves the name to the next one."""
    turns = Turns()
    with pytest.raises(KeyError), turns.alone("claim 1"):
        raise KeyError("missing")
    with turns.alone("claim 1") as again:
        assert again


def test_threads_that_wait_for_a_name_work_one_after_the_other():
    """The second thread is inside only when the first has left; another name is free."""
    turns, seen = Turns(), []

    def work(name):
        with turns.in_turn(name):
            seen.append(name)

    waiting = threading.Thread(target=work, args=["claim 1"])
    free = threading.Thread(target=work, args=["claim 2"])
    with turns.in_turn("claim 1"):
        waiting.start()
        until(lambda: inside(inspect.unwrap(Turns.in_turn), "lock"))
        free.start()
        free.join(60)
        assert seen == ["claim 2"]
    waiting.join(60)
    assert seen == ["claim 2", "claim 1"]
