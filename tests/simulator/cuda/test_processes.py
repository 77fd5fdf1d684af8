# SPDX-License-Identifier: Apache-2.0
"""Many processes on one simulated device: they share its memory, and what a dead one held is free again."""

from __future__ import annotations

import os
import signal

import pynvml
import pytest
from support import migtools
from support.cudatools import MIB

from hamid.core.errors import UsageError
from hamid.node.simulation import control

A100 = "1xA100-SXM4-40GB"
TOTAL_MIB = 40960
OUT_OF_MEMORY, NOT_INITIALIZED, DEVICE_UNAVAILABLE = 2, 3, 46


def processes():
    """The pids and bytes that NVML sees on the first GPU."""
    listed = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))
    return {entry.pid: entry.usedGpuMemory for entry in listed}


def test_processes_share_the_memory_of_a_gpu(node, cuda):
    """Each sees what the others and NVML's holders hold, and no process gets memory that is taken."""
    state = node(A100)
    first, second = cuda(state), cuda(state)
    first(f"d.alloc({30000 * MIB})")
    assert second("d.info()") == (10960 * MIB, TOTAL_MIB * MIB)
    assert second(f"d.alloc({10961 * MIB})") == ("cuMemAlloc_v2", OUT_OF_MEMORY)
    second(f"d.alloc({10000 * MIB})")
    assert processes() == {first.pid: 30000 * MIB, second.pid: 10000 * MIB}
    control.add_process("0", os.getpid(), 960)
    assert first("d.info()[0]") == 0
    with pytest.raises(UsageError, match="free"):
        control.add_process("0", os.getppid(), 1)
    assert control.remove_process(os.getpid())
    assert first("d.info()[0]") == 960 * MIB


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_dead_process_held_is_free(node, cuda, end):
    """However a process ends, its memory and its entry are gone at once for NVML and for other CUDA processes."""
    state = node(A100)
    victim, other = cuda(state), cuda(state)
    victim(f"d.alloc({TOTAL_MIB * MIB})")
    assert other("d.alloc(1)") == ("cuMemAlloc_v2", OUT_OF_MEMORY)
    os.kill(victim.pid, end)
    victim.process.wait()
    assert processes() == {other.pid: 0}
    assert other("d.used()") == 0
    assert other(f"d.alloc({TOTAL_MIB * MIB})") > 0


@pytest.mark.parametrize(("count", "rounds"), [(8, 15), pytest.param(64, 50, marks=pytest.mark.full)])
def test_many_processes_fill_a_gpu_to_the_last_piece(node, cuda, count, rounds):
    """Processes that grab at the same time get the whole device between them and not one piece more, every time."""
    state = node(A100)
    clients = [cuda(state) for _ in range(count)]
    piece = 16 * MIB
    for _ in range(rounds):
        for client in clients:
            client.ask(f"d.fill({piece})")
        counts = [client.answer() for client in clients]
        assert sum(counts) * piece == TOTAL_MIB * MIB
        assert processes() == {client.pid: had * piece for client, had in zip(clients, counts, strict=True)}
        assert all(client("d.drain()") <= {0} for client in clients)


def test_a_forked_child_has_no_driver(node, cuda):
    """After a fork every call of the child is NOT_INITIALIZED, cuInit too; the parent's memory stays the parent's."""
    client = cuda(node(A100))
    pointer = client("d.alloc(4096)")
    assert client("d.forked()") == f"({NOT_INITIALIZED}, {NOT_INITIALIZED})"
    assert processes() == {client.pid: 4096}
    assert client(f"d.free({pointer})") == 0


def test_a_context_takes_what_the_node_says(node, cuda):
    """With context_mib a context itself takes memory, and gives it back."""
    state = node(A100)
    control.set_knob("context_mib", "300", state=state)
    client = cuda(state)
    assert client("d.used()") == 300 * MIB
    assert client("d.code('cuDevicePrimaryCtxRelease_v2', 0)") == 0
    assert processes() == {}


def test_a_process_occupies_its_mig_instance(mig_gpu, cuda):
    """A client of a MIG device counts on that instance alone and makes it IN_USE until it ends."""
    device = mig_gpu("A100-SXM4-40GB")
    instance, compute = migtools.whole(device, 14, 1)
    migtools.whole(device, 14, 1)
    mig, other = migtools.mig_devices(device).values()
    client = cuda(os.environ["HAMI_SIM_STATE"], CUDA_VISIBLE_DEVICES=pynvml.nvmlDeviceGetUUID(mig))
    client(f"d.alloc({1000 * MIB})")
    total = pynvml.nvmlDeviceGetMemoryInfo(mig).total
    assert client("d.info()") == (total - 1000 * MIB, total)
    assert client(f"d.alloc({total})") == ("cuMemAlloc_v2", OUT_OF_MEMORY)
    assert pynvml.nvmlDeviceGetMemoryInfo(mig).used == 1000 * MIB
    assert pynvml.nvmlDeviceGetMemoryInfo(device).used == 1000 * MIB
    assert pynvml.nvmlDeviceGetMemoryInfo(other).used == 0
    (entry,) = pynvml.nvmlDeviceGetComputeRunningProcesses(mig)
    assert (entry.pid, entry.gpuInstanceId) == (client.pid, migtools.info(instance)[0])
    assert migtools.fails(pynvml.NVML_ERROR_IN_USE, pynvml.nvmlComputeInstanceDestroy, compute)
    client.kill()
    pynvml.nvmlComputeInstanceDestroy(compute)


def test_a_reboot_takes_the_device_away(node, cuda):
    """A process that outlives a reboot of its node gets no more memory and counts for nothing."""
    state = node(A100)
    client, other = cuda(state), cuda(state)
    client(f"d.alloc({30000 * MIB})")
    control.reboot(state=state)
    assert client("d.alloc(1)") == ("cuMemAlloc_v2", DEVICE_UNAVAILABLE)
    assert processes() == {}
    fresh = cuda(state)
    assert fresh("d.used()") == 0
    other.kill()


def test_memory_is_shared_by_handle(node, cuda):
    """A process opens another's memory and reads and writes the same bytes; its maker alone is charged."""
    state = node(A100)
    maker, user = cuda(state), cuda(state)
    for size in (4096, 5 * MIB):
        pointer = maker(f"d.alloc({size})")
        maker(f"d.write({pointer}, b'from the maker')")
        handle = maker(f"d.ipc_handle({pointer})")
        opened = user(f"d.ipc_open({handle!r})")
        assert user(f"d.read({opened}, 14)") == b"from the maker"
        user(f"d.write({opened}, b'from the user ')")
        assert maker(f"d.read({pointer}, 14)") == b"from the user "
        assert user("d.used()") == maker("d.used()") == (size + 511) // 512 * 512
        assert user(f"d.code('cuIpcCloseMemHandle', u64({opened}))") == 0
        assert maker(f"d.free({pointer})") == 0
    assert user(f"d.ipc_open({handle!r})")[1] != 0


FAULTS = {
    "error": ("cuMemAlloc_v2#2=error:999", ("cuMemAlloc_v2", 999)),
    "any of them": ("cuMem*=error:46", ("cuMemAlloc_v2", 46)),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_makes_a_function_fail(node, cuda, kind):
    """A driver function fails as told, has no effect, and works again once the faults are cleared."""
    rule, expected = FAULTS[kind]
    state = node(A100)
    client = cuda(state)
    control.add_fault(rule, state=state)
    if "#2" in rule:
        assert client("d.alloc(512)") > 0
    assert client("d.alloc(512)") == expected
    control.clear_faults(state=state)
    assert client("d.used()") in {0, 512}
    assert client("d.alloc(512)") > 0


@pytest.mark.parametrize("rule", ["kill", "kill-after"])
def test_a_fault_kills_before_or_after_the_effect(node, cuda, rule):
    """A process killed in cuMemAlloc dies before or after it has the memory; either way nothing of it stays."""
    state = node(A100)
    client, other = cuda(state), cuda(state)
    control.add_fault(f"cuMemAlloc_v2#1={rule}", state=state)
    with pytest.raises(EOFError, match="-9"):
        client("d.alloc(4096)")
    assert other("d.used()") == 0
    assert processes() == {other.pid: 0}
