# SPDX-License-Identifier: Apache-2.0
"""The reader of regions: what libvgpu writes, what HAMi-core writes, and any other content."""

import os
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import hami
from support.narrow import exactly
from support.sharing import MIB, close

from hamid.core.library.region import MAGIC, V1_SIZE, WHOLE_SIZE, NoRegion, Region, Use, decode
from hamid.node.library.region import find_regions, is_held, read_region


def hami_region(*, pids=(77,), total=5 * MIB, limit=10 * MIB):
    return hami.region(pids=pids, total=total, limit=limit)


def test_what_libvgpu_writes_is_read(container):
    """Limit, UUID, and each process with its bytes; a killed one is told by its lock."""
    place = container(100)
    clients = place.client(), place.client()
    clients[0](f"d.alloc({30 * MIB})")
    clients[1](f"d.alloc({20 * MIB})")
    (path,) = find_regions(str(place.cache.parent))
    found = read_region(path)
    assert isinstance(found, Region)
    assert (found.ours, found.limit_bytes[0], found.used_bytes(0)) == (True, 100 * MIB, 50 * MIB)
    assert {each.pid: each.used_bytes[0] for each in found.processes} == {
        clients[0].pid: 30 * MIB,
        clients[1].pid: 20 * MIB,
    }
    assert found.uuids[0].startswith("GPU-")
    assert found.doubtful == ()
    slots = [each.slot for each in found.processes]
    assert [is_held(path, slot) for slot in slots] == [True, True]
    close(*clients)
    assert [is_held(path, slot) for slot in slots] == [False, False]


def test_what_hami_core_writes_is_read():
    """Its layout 1.x without our block."""
    found = exactly(Region, decode(bytes(hami_region(pids=(77, 78)))))
    assert (found.ours, found.limit_bytes[0], found.sm_percent[0], found.used_bytes(0)) == (
        False,
        10 * MIB,
        30,
        10 * MIB,
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "bytes"),
        (bytes(V1_SIZE - 1), "bytes"),
        (bytes(V1_SIZE), "no process"),
        (b"\x01" * V1_SIZE, "magic"),
        (struct.pack("<iII", MAGIC, 2, 0) + bytes(V1_SIZE), "version"),
    ],
)
def test_what_is_no_region_says_why(data, why):
    """Short, empty, foreign, newer."""
    found = decode(data)
    assert isinstance(found, NoRegion)
    assert why in found.why


def test_kinds_of_memory_and_cores_are_read_where_hami_core_tells_them():
    """Context, module and buffer bytes, percent of the SMs, and when the last kernel ran."""
    data = hami_region(total=60)
    first, used, utilization, last_kernel = 1856, 8, 1160, 2_008_912
    struct.pack_into("<3Q", data, first + used, 10, 20, 30)
    struct.pack_into("<3Q", data, first + utilization, 1, 2, 250)
    struct.pack_into("<Q", data, last_kernel, 1_700_000_000)
    found = exactly(Region, decode(bytes(data)))
    (process,) = found.processes
    assert process.used[0] == Use(60, 10, 20, 30, sm_percent=100)
    assert process.used[0] + process.used[0] == Use(120, 20, 40, 60, sm_percent=200)
    assert found.last_kernel_at == 1_700_000_000
    assert found.doubtful == ()


def test_figures_that_cannot_be_are_left_out_and_named():
    """A torn or forged number is no usage of 18 exabytes."""
    data = hami_region(total=2**64 - 5, limit=2**63)
    struct.pack_into("<i", data, 2_008_896, 5000)
    found = exactly(Region, decode(bytes(data)))
    assert found.used_bytes(0) == 0
    assert len(found.doubtful) == 3


@given(
    st.integers(0, 2**32), st.integers(1, 3000), st.sampled_from([V1_SIZE, V1_SIZE + 1, WHOLE_SIZE, WHOLE_SIZE + 99])
)
def test_any_bytes_are_read_or_refused(seed, flips, size):
    """Any content that a container may write."""
    chance = random.Random(seed)
    data = hami_region().ljust(size, b"\0")[:size]
    for _ in range(flips):
        place = chance.choice([0, 1600, 2_008_890]) + chance.randrange(chance.choice([16, 3000, size]))
        data[place % size] = chance.randrange(256)
    found = decode(bytes(data))
    if isinstance(found, Region):
        assert all(0 <= used <= 1 << 50 for each in found.processes for used in each.used_bytes)


def test_links_pipes_and_folders_are_not_followed(tmp_path):
    """A container's directory is no place to trust."""
    target = tmp_path / "target"
    target.write_bytes(hami_region())
    link, pipe = tmp_path / "a.cache", tmp_path / "b.cache"
    link.symlink_to(target)
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path, tmp_path / "nothing"):
        assert isinstance(read_region(str(path)), NoRegion)
    assert isinstance(read_region(str(target)), Region)
