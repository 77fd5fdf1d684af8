# SPDX-License-Identifier: Apache-2.0
"""Memory of the simulated CUDA driver: every family counts what it takes, shows in NVML, and gives all of it back."""

from __future__ import annotations

import itertools

import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cudatools import MIB

from hamid.node.simulation import control

A100 = "1xA100-SXM4-40GB"
INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, INVALID_CONTEXT = 1, 2, 3, 201
TOTAL = 40960 * MIB


@pytest.fixture
def client(node, cuda):
    """A client with a context on an A100 of its own."""
    return cuda(node(A100))


# How to take memory of each family, how much of the device that is, and how it is given back.
FAMILIES = {
    "linear": ("d.alloc(1000)", 1024, "d.free({})"),
    "linear, freed in a stream": ("d.alloc(3000)", 3072, "d.code('cuMemFreeAsync', u64({}), None)"),
    "managed": ("d.get('cuMemAllocManaged', ctypes.c_size_t(5000), 1)", 5120, "d.free({})"),
    "pitch": (
        "d.get('cuMemAllocPitch_v2', ctypes.byref(u64()), ctypes.c_size_t(100), ctypes.c_size_t(64), 4)",
        512 * 64,
        "d.free({})",
    ),
    "physical": ("d.physical(4 << 20)", 4 * MIB, "d.code('cuMemRelease', u64({}))"),
    "line array": ("d.array(1000)", 65536, "d.code('cuArrayDestroy', u64({}))"),
    "plane array": ("d.array(1024, 1024)", 4 * MIB, "d.code('cuArrayDestroy', u64({}))"),
    "box array": ("d.array(100, 100, 10)", 524288, "d.code('cuArrayDestroy', u64({}))"),
    "deferred array": ("d.array(1024, 1024, 0, 0x80)", 0, "d.code('cuArrayDestroy', u64({}))"),
    "mipmap": ("d.mipmap(1024, 3)", (4096 + 1024 + 256) * 1024, "d.code('cuMipmappedArrayDestroy', u64({}))"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_counts_its_size_and_gives_it_back(node, cuda, family):
    """What each call takes is in cuMemGetInfo, in NVML's view and in the usage list; freed, nothing is left."""
    take, size, give = FAMILIES[family]
    state = node(A100)
    client = cuda(state)
    handle = client(take)
    assert client("d.used()") == size
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    (entry,) = pynvml.nvmlDeviceGetComputeRunningProcesses(device)
    assert (entry.pid, entry.usedGpuMemory) == (client.pid, size)
    assert pynvml.nvmlDeviceGetMemoryInfo(device).used == size
    assert [use.memory_bytes for use in control.usage(state)] == [size]
    assert client(give.format(handle)) == 0
    assert client("d.used()") == 0
    assert pynvml.nvmlDeviceGetMemoryInfo(device).used == 0


def test_a_handle_is_freed_once(client):
    """Freeing twice, or what was never given, is refused and changes nothing."""
    pointer = client("d.alloc(4096)")
    assert client(f"d.free({pointer} + 512)") == INVALID_VALUE
    assert client(f"d.free({pointer})") == 0
    assert client(f"d.free({pointer})") == INVALID_VALUE
    assert client("d.free(0)") == 0
    assert client("d.free(0xdeadbeef000)") == INVALID_VALUE
    handle = client("d.physical(2 << 20)")
    assert client(f"d.code('cuMemRelease', u64({handle}))") == 0
    assert client(f"d.code('cuMemRelease', u64({handle}))") == INVALID_VALUE
    assert client("d.used()") == 0


def test_the_last_byte_can_be_had_and_no_more(client):
    """Capacity is exact: all of it fits, one unit more does not, and what was refused costs nothing."""
    assert client(f"d.alloc({TOTAL} + 1)") == ("cuMemAlloc_v2", OUT_OF_MEMORY)
    pointer = client(f"d.alloc({TOTAL} - 512)")
    assert client("d.info()[0]") == 512
    assert client("d.alloc(513)") == ("cuMemAlloc_v2", OUT_OF_MEMORY)
    assert client("d.alloc(512)") > 0
    assert client("d.alloc(1)") == ("cuMemAlloc_v2", OUT_OF_MEMORY)
    for taking in ("d.physical(2 << 20)", "d.array(64, 64)", "d.get('cuMemAllocAsync', ctypes.c_size_t(512), None)"):
        assert client(taking)[1] == OUT_OF_MEMORY
    assert client(f"d.free({pointer})") == 0
    assert client("d.used()") == 512


def test_memory_holds_what_is_written(client):
    """Copies and fills work on the memory itself, in both directions and beyond blocks of one size."""
    for size in (1, 511, 4096, 3 * MIB):
        pointer = client(f"d.alloc({size})")
        client(f"d.write({pointer}, bytes(n % 251 for n in range({size})))")
        assert client(f"d.read({pointer}, {size}) == bytes(n % 251 for n in range({size}))")
        assert client(f"d.code('cuMemsetD8_v2', u64({pointer}), 7, ctypes.c_size_t({size}))") == 0
        assert client(f"set(d.read({pointer}, {size}))") == {7}
        assert client(f"d.write({pointer}, bytes({size} + 1))") == ("cuMemcpyHtoD_v2", INVALID_VALUE)


def test_virtual_memory_is_one_memory_at_two_addresses(client):
    """What is written through one mapping is read through another; the memory lives as long as any use of it."""
    handle = client("d.physical(4 << 20)")
    first, second = client(f"d.map({handle}, 4 << 20)"), client(f"d.map({handle}, 4 << 20)")
    client(f"d.write({first} + 3000000, b'one memory')")
    assert client(f"d.read({second} + 3000000, 10)") == b"one memory"
    assert client(f"d.code('cuMemRelease', u64({handle}))") == 0
    assert client("d.used()") == 4 * MIB
    assert client(f"d.code('cuMemUnmap', u64({first}), ctypes.c_size_t(4 << 20))") == 0
    retained = client(f"d.get('cuMemRetainAllocationHandle', ctypes.c_void_p({second}))")
    assert client(f"d.code('cuMemUnmap', u64({second}), ctypes.c_size_t(4 << 20))") == 0
    assert client(f"d.read({second}, 10)") == ("cuMemcpyDtoH_v2", INVALID_VALUE)
    assert client("d.used()") == 4 * MIB
    assert client(f"d.code('cuMemRelease', u64({retained}))") == 0
    assert client("d.used()") == 0


def test_memory_comes_and_goes_by_descriptor(client):
    """Physical memory imported from its descriptor is the same bytes and costs nothing; external memory likewise."""
    handle = client("d.physical(2 << 20)")
    imported = client(f"d.export({handle})")
    first, second = client(f"d.map({handle}, 2 << 20)"), client(f"d.map({imported}, 2 << 20)")
    client(f"d.write({first}, b'shared')")
    assert client(f"d.read({second}, 6)") == b"shared"
    assert client("d.used()") == 2 * MIB
    pointer, seen = client("d.external(100000)")
    assert (seen, client("d.used()")) == (b"outside", 2 * MIB)
    assert client(f"d.free({pointer})") == 0
    assert client(f"d.free({pointer})") == INVALID_VALUE


def test_an_array_holds_what_is_written(client):
    """Lines go in and a plane comes out of an array whose rows are longer than its width; beyond its end is refused."""
    data = bytes(number % 253 for number in range(100 * 4 * 33))
    assert client(f"d.through_array({data!r}, 100, 33)") == (data, INVALID_VALUE)


def test_a_pool_keeps_steps_until_it_is_told_or_synchronised(client):
    """Pools take 32 MiB steps, count used and reserved, keep up to the threshold and give the rest back at a sync."""
    pool = client("d.get('cuDeviceGetDefaultMemPool', 0)")

    def attribute(number):
        return client(f"d.pool_attribute({pool}, {number})")

    pointer = client(f"d.get('cuMemAllocAsync', ctypes.c_size_t({MIB}), None)")
    assert (attribute(7), attribute(5), client("d.used()")) == (MIB, 32 * MIB, 32 * MIB)
    other = client(f"d.get('cuMemAllocAsync', ctypes.c_size_t({40 * MIB}), None)")
    assert (attribute(7), attribute(5)) == (41 * MIB, 64 * MIB)
    assert client(f"d.code('cuMemFreeAsync', u64({other}), None)") == 0
    assert client(f"d.free({pointer})") == 0
    assert (attribute(7), attribute(5), attribute(8), attribute(6)) == (0, 64 * MIB, 41 * MIB, 64 * MIB)
    assert client(f"d.code('cuMemPoolSetAttribute', u64({pool}), 4, ctypes.byref(u64({10 * MIB})))") == 0
    assert client("d.code('cuCtxSynchronize')") == 0
    assert client("d.used()") == 10 * MIB
    assert client(f"d.code('cuMemPoolTrimTo', u64({pool}), ctypes.c_size_t(0))") == 0
    assert client("d.used()") == 0


def test_a_pool_gives_its_rest_to_who_needs_it(client):
    """Memory that a pool only keeps does not make another allocation fail."""
    pointer = client(f"d.get('cuMemAllocAsync', ctypes.c_size_t({TOTAL // 2}), None)")
    assert client(f"d.code('cuMemFreeAsync', u64({pointer}), None)") == 0
    assert client("d.used()") == TOTAL // 2
    assert client(f"d.alloc({TOTAL})") > 0


def test_graph_memory_counts_from_the_launch_until_it_is_trimmed(client):
    """A graph's allocation has its address from the start and memory from the launch; a second launch needs it free."""
    executable, pointer = client(f"d.graph_memory({3 * MIB})")
    launch = f"d.code('cuGraphLaunch', u64({executable}), None)"
    assert client("d.used()") == 0
    assert client(launch) == 0
    assert client("d.used()") == 4 * MIB
    client(f"d.write({pointer}, b'graph')")
    assert client(launch) == INVALID_VALUE
    assert client(f"d.free({pointer})") == 0
    assert client(f"d.free({pointer})") == INVALID_VALUE
    assert client("d.used()") == 4 * MIB
    assert client("d.code('cuDeviceGraphMemTrim', 0)") == 0
    assert client("d.used()") == 0
    again, _ = client(f"d.graph_memory({3 * MIB}, flags=1)")
    assert [client(f"d.code('cuGraphLaunch', u64({again}), None)") for _ in range(2)] == [0, 0]
    assert client("d.used()") == 4 * MIB


def test_the_end_of_a_context_frees_what_was_made_in_it(client):
    """Resetting the primary context gives back every kind of memory, and NVML no longer lists the process."""
    for taking in ("d.alloc(9999)", "d.array(64, 64)", "d.mipmap(64, 3)"):
        assert client(taking)
    client("d.get('cuMemAllocAsync', ctypes.c_size_t(4096), None)")
    executable, _ = client("d.graph_memory(4096)")
    client(f"d.call('cuGraphLaunch', u64({executable}), None)")
    client("d.variable()")
    assert client("d.code('cuDevicePrimaryCtxReset_v2', 0)") == 0
    assert client("d.code('cuMemAlloc_v2', ctypes.byref(u64()), ctypes.c_size_t(1))") == 709
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0)) == []
    client("d.open()")
    assert client("d.used()") == 0


@settings(max_examples=20)  # each asks another process a hundred times
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(1, 5 * MIB)), max_size=40))
def test_any_order_of_taking_and_freeing_counts_exactly(client, steps):
    """After every step the device holds the sum of the live blocks, in units of 512 bytes, and blocks never overlap."""
    live: dict[int, int] = {}
    for take, number in steps:
        if take or not live:
            live[client(f"d.alloc({number})")] = number
        else:
            chosen = sorted(live)[number % len(live)]
            del live[chosen]
            assert client(f"d.free({chosen})") == 0
        spans = sorted(live.items())
        assert all(start + size <= following for (start, size), (following, _) in itertools.pairwise(spans))
        assert client("d.used()") == sum((size + 511) // 512 * 512 for size in live.values())
    for pointer in live:
        client(f"d.free({pointer})")
