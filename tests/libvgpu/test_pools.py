# SPDX-License-Identifier: Apache-2.0
"""What pools keep of freed memory because they were asked to: it counts, and is given up before the limit refuses."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sharing import MIB, close

OUT_OF_MEMORY = 2
LIMIT = 128
EVER = (1 << 64) - 1
FREE = "d.code('cuMemFreeAsync', u64({pointer}), None)"
RESERVED = 5


@pytest.fixture
def place(container):
    return container(LIMIT)


@pytest.fixture
def client(place):
    """A client whose variable `pool` is one that keeps all of its 96 MiB, which were freed."""
    made = place.client()
    pool = made("d.pool()")
    made(f"d.keep({pool}, {EVER})")
    pointer = made(f"d.from_pool({pool}, {96 * MIB})")
    assert made(FREE.format(pointer=pointer)) == 0
    assert made("d.code('cuCtxSynchronize')") == 0
    made.pool = pool
    yield made
    close(made)


def test_what_a_pool_keeps_counts(place, client):
    """The driver holds it, the view shows it, and another process gets the rest of the limit and no more."""
    assert client("d.used()") == place.used() == 96 * MIB
    other = place.client()
    assert other(f"d.fill({MIB})") == LIMIT - 96
    assert place.used() == LIMIT * MIB
    close(other)


def test_a_pool_gives_up_what_it_keeps_before_the_limit_refuses(place, client):
    """As a driver does when its memory is short; nothing is over the limit."""
    assert client(f"d.fill({MIB})") == LIMIT
    assert place.used() == LIMIT * MIB
    assert client(f"d.from_pool({client.pool}, {MIB})")[1] == OUT_OF_MEMORY


def test_a_pool_uses_again_what_it_keeps(place, client):
    """Without a trim between, and counted once."""
    pointer = client(f"d.from_pool({client.pool}, {90 * MIB})")
    assert isinstance(pointer, int)
    assert client(f"d.pool_attribute({client.pool}, {RESERVED})") == 96 * MIB
    assert client("d.used()") == place.used() == 96 * MIB


def test_the_steps_that_a_driver_takes_are_not_counted_and_not_over_the_limit(place):
    """A pool of 50 MiB has 64 in the driver and counts 50; linear memory gets the rest of the limit to the byte."""
    client = place.client()
    pool = client("d.pool()")
    client(f"d.keep({pool}, {EVER})")
    assert client(f"d.from_pool({pool}, {50 * MIB})") > 0
    assert (client("d.used()"), place.used()) == (50 * MIB, 64 * MIB)
    assert client(f"d.fill({MIB})") == LIMIT - 50
    assert client("d.used()") == place.used() == LIMIT * MIB
    close(client)


def test_a_request_that_is_refused_leaves_the_figure_as_it_was(place, client):
    """Of a pool that keeps some of it, and of one that the driver fails."""
    assert client(f"d.from_pool({client.pool}, {(LIMIT + 1) * MIB})")[1] == OUT_OF_MEMORY
    assert client("d.used()") == place.used()
    assert client(f"d.alloc({LIMIT * MIB})") > 0


@pytest.mark.parametrize(
    "end",
    [
        "d.code('cuMemPoolTrimTo', ctypes.c_void_p({pool}), ctypes.c_size_t(0))",
        "d.code('cuMemPoolDestroy', ctypes.c_void_p({pool}))",
        "(d.keep({pool}, 0), d.code('cuCtxSynchronize'))[1]",
    ],
    ids=["trimmed", "destroyed", "threshold taken back"],
)
def test_what_is_kept_no_longer_counts_no_longer(end, place, client):
    """All of it is free for everybody at once."""
    assert client(end.format(pool=client.pool)) == 0
    assert client("d.used()") == place.used() == 0
    other = place.client()
    assert other(f"d.fill({MIB})") == LIMIT
    close(other)


def test_the_default_pool_keeps_too(place):
    """Every function that returns the pool can set its threshold, and cuMemAllocAsync uses it."""
    client = place.client()
    client(f"d.keep(d.default_pool(0), {EVER})")
    pointer = client(f"d.get('cuMemAllocAsync', ctypes.c_size_t({64 * MIB}), None)")
    assert client(FREE.format(pointer=pointer)) == 0
    assert client("d.code('cuCtxSynchronize')") == 0
    assert client("d.used()") == place.used() == 64 * MIB
    assert isinstance(client(f"d.get('cuMemAllocAsync', ctypes.c_size_t({LIMIT * MIB}), None)"), int)
    assert client("d.used()") == place.used() == LIMIT * MIB
    close(client)


OPERATION = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 2), st.integers(1, 35).map(lambda pages: 2 * pages)),
    st.tuples(st.just("linear"), st.just(0), st.integers(1, 35).map(lambda pages: 2 * pages)),
    st.tuples(st.just("free"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("keep"), st.integers(0, 2), st.sampled_from((0, 20, 64, EVER >> 20))),
    st.tuples(st.just("trim"), st.integers(0, 2), st.integers(0, 40)),
)


class Pools:
    """A client with three pools that keep all they can; `act` does one operation."""

    def __init__(self, client):
        self.client = client
        self.pools = [client("d.pool()") for _ in range(3)]
        self.held = []
        for pool in self.pools:
            client(f"d.keep({pool}, {EVER})")

    def act(self, word, number, size):
        getattr(self, word)(number, size)
        assert self.client("d.code('cuCtxSynchronize')") == 0

    def take(self, number, size):
        self._hold(self.client(f"d.from_pool({self.pools[number]}, {size * MIB})"))

    def linear(self, _number, size):
        self._hold(self.client(f"d.alloc({size * MIB})"))

    def _hold(self, outcome):
        if isinstance(outcome, int):
            self.held.append(outcome)
        else:
            assert outcome[1] == OUT_OF_MEMORY

    def free(self, number, _size):
        if self.held:
            assert self.client(FREE.format(pointer=self.held.pop(number % len(self.held)))) == 0

    def keep(self, number, size):
        self.client(f"d.keep({self.pools[number]}, {min(size * MIB, EVER)})")

    def trim(self, number, size):
        trim = f"d.code('cuMemPoolTrimTo', ctypes.c_void_p({self.pools[number]}), ctypes.c_size_t({size * MIB}))"
        assert self.client(trim) == 0

    def end(self):
        while self.held:
            self.free(0, 0)
        for pool in self.pools:
            assert self.client(f"d.code('cuMemPoolDestroy', ctypes.c_void_p({pool}))") == 0


@settings(max_examples=40)  # each starts a client of its own
@given(operations=st.lists(OPERATION, min_size=1, max_size=25))
def test_whatever_pools_do_the_driver_never_holds_more_than_the_limit(container, operations):
    """Three pools of changing thresholds beside linear memory; when all is given back nothing is left counted."""
    place = container(LIMIT)
    client = place.client()
    pools = Pools(client)
    for operation in operations:
        pools.act(*operation)
        assert place.used() <= LIMIT * MIB
        assert client("d.used()") <= LIMIT * MIB
    pools.end()
    assert client("d.used()") == place.used() == 0
    close(client)


RACE = """
def churn(number):
    for turn in range(300):
        pointer = d.from_pool(shared[turn % 2], (1 + (number * 7 + turn) % 5) * 1048576)
        if isinstance(pointer, int):
            d.code('cuMemFreeAsync', u64(pointer), None)
def come_and_go():
    for _ in range(150):
        pool = d.keep(d.pool(), 1 << 40)
        pointer = d.from_pool(pool, 1048576)
        if isinstance(pointer, int):
            d.code('cuMemFreeAsync', u64(pointer), None)
        d.code('cuMemPoolDestroy', ctypes.c_void_p(pool))
"""


def test_a_threshold_that_two_threads_set_at_once_counts_once(place, tmp_path):
    """As clients do that begin in every thread: two thousand pools, each counted once and then not at all."""
    program = tmp_path / "thresholds"
    source = Path(__file__).parent / "programs/thresholds.c"
    subprocess.run(["cc", "-std=gnu11", "-O1", "-pthread", "-o", program, source, "-ldl"], check=True)
    done = place.run(program, "2000")
    assert (done.returncode, done.stdout) == (0, "0 0\n"), done.stderr


def test_threads_that_share_pools_lose_no_byte(place):
    """Four threads take from and give to two pools while others come and go; afterwards all is as it was."""
    client = place.client()
    script = json.dumps(RACE)
    assert client(f"exec({script}, globals()) is None")
    client("globals().update(shared=[d.keep(d.pool(), 1 << 40) for _ in range(2)])")
    work = "[threading.Thread(target=churn, args=(n,)) for n in range(4)] + [threading.Thread(target=come_and_go)]"
    client("exec('import threading', globals())")
    client(f"globals().update(work={work})")
    client("[each.start() for each in work] and [each.join() for each in work] and None")
    for n in range(2):
        client(f"d.code('cuMemFreeAsync', u64(d.from_pool(shared[{n}], 1048576)), None)")
    kept = sum(client(f"d.pool_attribute(shared[{n}], {RESERVED})") for n in range(2))
    assert MIB <= client("d.used()") <= kept == place.used()
    for n in range(2):
        assert client(f"d.code('cuMemPoolDestroy', ctypes.c_void_p(shared[{n}]))") == 0
    assert client("d.used()") == place.used() == 0
    close(client)
