# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pynvml
import pytest
from support import migtools
from support.narrow import present
from support.waiting import LIMIT_SECONDS, until

from hamid.core.errors import UsageError
from hamid.node.simulation import control

A100 = "A100-SXM4-40GB"
IN_USE = pynvml.NVML_ERROR_IN_USE


@pytest.fixture
def sleeper():
    """Starts processes that do nothing, and ends them."""
    started = []

    def start():
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def end(process):
    """Kills and reaps a process."""
    process.kill()
    process.wait()


@pytest.fixture
def start_holder():
    """Starts holders; each gives its process and its first word, or its complaint."""
    started = []

    def start(state, target, memory_mib):
        process = subprocess.Popen(
            [control.holder_program(), str(state), target, str(memory_mib)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        line = present(process.stdout).readline()
        return process, line.strip() or present(process.stderr).read().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_process_occupies_its_instance(mig_gpu, sleeper):
    """While a process lives its instances cannot be destroyed; as soon as it is dead they can."""
    device = mig_gpu(A100)
    instance, compute = migtools.whole(device, 14, 1)
    mig = migtools.mig_devices(device)[0]
    process = sleeper()
    control.add_process(pynvml.nvmlDeviceGetUUID(mig), process.pid, 1000)
    assert pynvml.nvmlDeviceGetMemoryInfo(mig).used == 1000 * 2**20
    assert pynvml.nvmlDeviceGetMemoryInfo(device).used == 1000 * 2**20
    for handle in (device, mig):
        (entry,) = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        assert (entry.pid, entry.usedGpuMemory) == (process.pid, 1000 * 2**20)
        assert (entry.gpuInstanceId, entry.computeInstanceId) == (migtools.info(instance)[0], 0)
    assert migtools.fails(IN_USE, pynvml.nvmlComputeInstanceDestroy, compute)
    assert migtools.fails(IN_USE, pynvml.nvmlGpuInstanceDestroy, instance)
    end(process)
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(device) == []
    assert pynvml.nvmlDeviceGetMemoryInfo(mig).used == 0
    pynvml.nvmlComputeInstanceDestroy(compute)
    pynvml.nvmlGpuInstanceDestroy(instance)


def test_a_zombie_is_dead(mig_gpu, sleeper):
    """A killed process that was not reaped yet holds nothing."""
    device = mig_gpu(A100)
    instance, compute = migtools.whole(device, 14, 1)
    process = sleeper()
    control.add_process(pynvml.nvmlDeviceGetUUID(migtools.mig_devices(device)[0]), process.pid, 10)
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(device) == [])
    pynvml.nvmlComputeInstanceDestroy(compute)
    pynvml.nvmlGpuInstanceDestroy(instance)


def test_clients_keep_a_mode_change_pending(node, sleeper):
    """With a client the mode stays, the request pends, asking for the current mode takes it back, idle retry acts."""
    node(f"1x{A100}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    process = sleeper()
    control.add_process(pynvml.nvmlDeviceGetUUID(device), process.pid, 100)
    assert pynvml.nvmlDeviceSetMigMode(device, 1) == IN_USE
    assert pynvml.nvmlDeviceGetMigMode(device) == [0, 1]
    assert pynvml.nvmlDeviceSetMigMode(device, 0) == pynvml.NVML_SUCCESS
    assert pynvml.nvmlDeviceGetMigMode(device) == [0, 0]
    assert pynvml.nvmlDeviceSetMigMode(device, 1) == IN_USE
    end(process)
    assert pynvml.nvmlDeviceGetMigMode(device) == [0, 1]
    assert pynvml.nvmlDeviceSetMigMode(device, 1) == pynvml.NVML_SUCCESS
    assert pynvml.nvmlDeviceGetMigMode(device) == [1, 1]


def test_a_monitor_on_the_whole_gpu_blocks_creation(mig_gpu, sleeper):
    """A client without memory may sit on a GPU in MIG mode, and then instances cannot be created beside it."""
    device = mig_gpu(A100)
    uuid = pynvml.nvmlDeviceGetUUID(device)
    process = sleeper()
    with pytest.raises(UsageError, match="MIG mode"):
        control.add_process(uuid, process.pid, 100)
    control.add_process(uuid, process.pid, 0)
    assert migtools.fails(IN_USE, migtools.create, device, 19)
    (entry,) = pynvml.nvmlDeviceGetComputeRunningProcesses(device)
    assert (entry.gpuInstanceId, entry.computeInstanceId) in {(None, None), (0xFFFFFFFF, 0xFFFFFFFF)}
    assert control.remove_process(process.pid)
    assert not control.remove_process(process.pid)
    migtools.create(device, 19)


def test_bad_processes_are_refused_with_reasons(node, sleeper):
    """No such process, no such device and too much memory are errors in words, and nothing is counted."""
    node(f"1x{A100}")
    uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
    process = sleeper()
    for arguments, text in (
        ((uuid, 2**22 + 12345, 10), "no live process"),
        (("MIG-nothing", process.pid, 10), "no GPU or MIG device"),
        ((uuid, process.pid, 40961), "40960 MiB free"),
        ((uuid, process.pid, 2**60), "more memory than there is"),
    ):
        with pytest.raises(UsageError, match=text):
            control.add_process(*arguments)
    assert control.processes() == []


def test_process_lists_say_when_they_do_not_fit(node, sleeper):
    """A list that is too short answers INSUFFICIENT_SIZE and the number that is needed, as NVML does."""
    node(f"1x{A100}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    for _ in range(3):
        control.add_process(pynvml.nvmlDeviceGetUUID(device), sleeper().pid, 10)
    call = ctypes.CDLL("libnvidia-ml.so.1").nvmlDeviceGetComputeRunningProcesses
    count = ctypes.c_uint(2)
    rows = (ctypes.c_ulonglong * 6)()
    assert call(device, ctypes.byref(count), rows) == pynvml.NVML_ERROR_INSUFFICIENT_SIZE
    assert (count.value, rows[4]) == (3, 0)
    assert call(device, ctypes.byref(count), rows) == pynvml.NVML_SUCCESS
    assert [rows[index] for index in (1, 3, 5)] == [10 * 2**20] * 3
    assert len(control.processes()) == 3


def test_a_holder_holds_until_it_is_told_to_stop(mig_gpu, start_holder):
    """The holder program says ready once its memory counts, refuses what is not free, and leaves at SIGTERM."""
    device = mig_gpu(A100)
    state = os.environ["HAMI_SIM_STATE"]
    migtools.whole(device, 14, 1)
    mig = migtools.mig_devices(device)[0]
    uuid = pynvml.nvmlDeviceGetUUID(mig)
    holder, line = start_holder(state, uuid, 9000)
    assert line == "ready"
    assert pynvml.nvmlDeviceGetMemoryInfo(mig).used == 9000 * 2**20
    assert [(p.pid, p.target, p.memory_mib, p.holder) for p in control.processes(state)] == [
        (holder.pid, uuid, 9000, True)
    ]
    refused, text = start_holder(state, uuid, 857)
    assert "856 MiB free" in text
    assert refused.wait(LIMIT_SECONDS) == 1
    holder.terminate()
    assert holder.wait(LIMIT_SECONDS) == 0
    assert control.processes(state) == []


def test_holders_end_with_the_node(make_state, start_holder):
    """When the state file goes or is replaced, holders notice and end by themselves."""
    state = make_state("2xA30")
    pynvml.nvmlInit()
    uuids = [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(2)]
    pynvml.nvmlShutdown()
    holders = [start_holder(state, uuid, 100)[0] for uuid in uuids]
    assert len(control.processes(state)) == 2
    other = make_state("1xA30")
    other.replace(state)
    assert [holder.wait(LIMIT_SECONDS) for holder in holders] == [0, 0]


def test_a_holder_explains_bad_arguments(tmp_path):
    """Wrong usage is 2, a missing node 1, both with a text on stderr."""
    program = control.holder_program()
    usage = subprocess.run([program, "x", "y", "-1"], capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stdout) == (2, "")
    assert "usage" in usage.stderr
    missing = subprocess.run([program, str(tmp_path / "no"), "GPU-x", "1"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert missing.stderr.strip()
