# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import claim, gpu, share

from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.shares import Room, ShareSize, choose_shares, find_shares, rooms
from hamid.core.config.config import Config
from hamid.core.planner.reasons import (
    CoresPromised,
    CoresShared,
    CoresTaken,
    MemoryTaken,
    Reason,
    SplitUsedUp,
    TotalUnknown,
)
from hamid.core.planner.refusal import NoShares, Refusal
from hamid.core.planner.request import GpuPolicy

GPUS = tuple(gpu(index=index, mig=False, memory_mib=1000) for index in range(3))
SIZES = st.builds(
    ShareSize,
    memory_mib=st.none() | st.integers(1, 900),
    memory_percent=st.none() | st.integers(1, 100),
    cores_percent=st.integers(0, 100),
)


@pytest.mark.parametrize(
    ("size", "mib", "words"),
    [
        (ShareSize(memory_mib=300), 300, "300 MiB"),
        (ShareSize(memory_percent=50), 501, "50% memory"),
        (ShareSize(), 1001, "100% memory"),
        (ShareSize(memory_percent=1, cores_percent=30), 11, "1% memory and 30% cores"),
    ],
)
def test_a_share_has_a_size_on_each_gpu(size, mib, words):
    """A percentage is rounded up to whole MiB of the GPU's memory; without a size it is all of it."""
    assert size.on(1001) == mib
    assert str(size) == words


@pytest.mark.parametrize(
    ("room", "size", "facts"),
    [
        ({}, ShareSize(memory_mib=1000, cores_percent=100), None),
        ({"memory_mib": 0}, ShareSize(memory_mib=1), TotalUnknown()),
        ({"users": 2}, ShareSize(memory_mib=1), SplitUsedUp(2)),
        ({"used_memory_mib": 700}, ShareSize(memory_mib=301), MemoryTaken(300, 1000, 301)),
        ({"used_memory_mib": 1100}, ShareSize(memory_mib=1), MemoryTaken(0, 1000, 1)),
        ({"used_cores_percent": 60}, ShareSize(memory_mib=1, cores_percent=41), CoresTaken(40, 100, 41)),
        ({"used_cores_percent": 120}, ShareSize(memory_mib=1, cores_percent=1), CoresTaken(0, 100, 1)),
        ({"users": 1}, ShareSize(memory_mib=1, cores_percent=100), CoresShared()),
        ({"users": 1, "cores_percent": 200}, ShareSize(memory_mib=1, cores_percent=100), None),
        ({"users": 1, "used_cores_percent": 100}, ShareSize(memory_mib=1), CoresPromised()),
        ({"users": 1, "used_cores_percent": 99}, ShareSize(memory_mib=1), None),
    ],
)
def test_why_a_gpu_has_no_share_left(room, size, facts):
    """Each limit has a reason of its own: unknown memory, users, memory, cores, and exclusive use of the cores."""
    whole = {"gpu": GPUS[0], "memory_mib": 1000, "cores_percent": 100, "slots": 2}
    assert Room(**{**whole, **room}).shortage(size) == facts


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400), st.integers(0, 50)), max_size=6), SIZES)
def test_what_is_promised_never_exceeds_a_gpu(given_away, size):
    """A share that is granted fits into the memory and cores that earlier shares left of its GPU."""
    claims = [claim(n, share(GPUS[at], mib, cores)) for n, (at, mib, cores) in enumerate(given_away)]
    before = rooms(GPUS, claims, Config())
    for index, each in enumerate(GPUS):
        mine = [(mib, cores) for at, mib, cores in given_away if at == index]
        room = before[each.uuid]
        assert (room.users, room.used_memory_mib, room.used_cores_percent) == (
            len(mine),
            sum(mib for mib, _ in mine),
            sum(cores for _, cores in mine),
        )
    for taken in choose_shares(before, size, 1, first=(), spread=False):
        room = before[taken.gpu_uuid]
        assert room.used_memory_mib + taken.memory_mib <= 1000
        assert room.used_cores_percent + taken.sm_percent <= 100


def test_scaling_and_a_configured_memory_change_what_a_gpu_has():
    """Memory is what is configured or what the driver says, times the scaling; cores scale too."""
    plain = rooms(GPUS[:1], (), Config(memory_scaling=1.5, core_scaling=2.0, split_count=7))[GPUS[0].uuid]
    assert (plain.memory_mib, plain.cores_percent, plain.slots) == (1500, 200, 7)
    unknown = gpu(mig=False, memory_mib=None)
    assert rooms([unknown], (), Config())[unknown.uuid].memory_mib == 0
    assert rooms([unknown], (), Config(preconfigured_memory_mib=4000))[unknown.uuid].memory_mib == 4000


@pytest.mark.parametrize(
    ("policy", "first", "count", "indices"),
    [
        (GpuPolicy.BINPACK, (), 1, [1]),
        (GpuPolicy.SPREAD, (), 1, [0]),
        (GpuPolicy.SPREAD, (), 2, [0, 2]),
        (GpuPolicy.BINPACK, (GPUS[2].uuid,), 1, [2]),
        (GpuPolicy.BINPACK, (GPUS[2].uuid,), 2, [1, 2]),
        (GpuPolicy.BINPACK, (), 3, [0, 1, 2]),
    ],
)
def test_which_gpus_come_first(policy, first, count, indices):
    """Steered GPUs come first, then the most used or, with spread, the least used; the answer is in CUDA's order."""
    claims = [claim(1, share(GPUS[1], 500, 10))]
    wanted = ContainerRequest(count=count, memory_mib=100, cores_percent=5)
    found = find_shares(GPUS, claims, Config(gpu_policy=policy), wanted, first=first)
    assert found == tuple(share(GPUS[index], 100, 5) for index in indices)


def test_too_few_gpus_are_refused_with_a_reason_for_each_full_one():
    """A container gets at most one share of a GPU, and the refusal says why the others cannot serve."""
    claims = [claim(1, share(GPUS[1], 950))]
    wanted = ContainerRequest(count=3, memory_mib=100)
    assert find_shares(GPUS, claims, Config(), wanted, first=()) == Refusal(
        facts=NoShares(3, "100 MiB", 3), reasons=(Reason(gpu=1, facts=MemoryTaken(50, 1000, 100)),)
    )
