# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pynvml
import pytest
from support import migtools
from support.narrow import present
from support.waiting import LIMIT_SECONDS, is_blocked_in, until

from hamid.core.errors import UsageError
from hamid.node.paths import native_file
from hamid.node.simulation import control

A100 = "A100-SXM4-40GB"
LIBRARY = native_file("simulator/libnvidia-ml.so.1")


def uuid_of(device):
    """The UUID of a device."""
    return pynvml.nvmlDeviceGetUUID(device)


def call_in_process(code, **environment):
    """The exit code of a Python program that has the library loaded as `library` and NVML open."""
    prelude = f"import ctypes; library = ctypes.CDLL({LIBRARY!r}); start = library.nvmlInit_v2()\n"
    program = [sys.executable, "-c", prelude + code]
    return subprocess.run(program, env={**os.environ, **environment}, timeout=LIMIT_SECONDS, check=False).returncode


def test_an_error_comes_at_the_nth_call(mig_gpu):
    """A fault answers its code at the call that it names and only there, and the node does not change then."""
    device = mig_gpu(A100)
    control.add_fault("nvmlDeviceCreateGpuInstance#2=error:23")
    migtools.create(device, 19)
    assert migtools.fails(23, migtools.create, device, 19)
    migtools.create(device, 19)
    assert len(migtools.all_instances(device)) == 2
    control.clear_faults()


def test_a_fault_is_meant_for_one_gpu(mig_gpu):
    """A rule with a GPU leaves the others alone, and a star means every function that begins so."""
    mig_gpu(A100, count=2)
    devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
    control.add_fault("nvmlDeviceGet*@1=error:15")
    assert pynvml.nvmlDeviceGetName(devices[0])
    for call in (pynvml.nvmlDeviceGetName, pynvml.nvmlDeviceGetMigMode, pynvml.nvmlDeviceGetMemoryInfo):
        assert migtools.fails(pynvml.NVML_ERROR_GPU_IS_LOST, call, devices[1])
    control.clear_faults()
    assert pynvml.nvmlDeviceGetName(devices[1])


def test_latency_holds_nobody_else_up(mig_gpu):
    """While one call has not returned, calls of another thread do, and it returns with its effect."""
    device = mig_gpu(A100)
    control.add_fault("nvmlDeviceCreateGpuInstance=latency:1500")
    slow = threading.Thread(target=migtools.create, args=(device, 19))
    slow.start()
    until(lambda: is_blocked_in("clock_nanosleep", thread=slow.native_id))
    pynvml.nvmlDeviceGetMigMode(device)
    assert is_blocked_in("clock_nanosleep", thread=slow.native_id)
    slow.join()
    assert len(migtools.all_instances(device)) == 1


def test_a_hang_holds_nobody_else_up(mig_gpu):
    """A process that hangs in a call can be killed, and meanwhile the node serves on."""
    device = mig_gpu(A100)
    control.add_fault("nvmlSystemGetNVMLVersion=hang")
    code = f"import ctypes; l = ctypes.CDLL({LIBRARY!r}); l.nvmlInit_v2(); b = b'x' * 99; print(1, flush=True)\n"
    code += "l.nvmlSystemGetNVMLVersion(ctypes.create_string_buffer(99), 99)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        present(process.stdout).readline()
        until(lambda: is_blocked_in("pause", process.pid))
        pynvml.nvmlGpuInstanceDestroy(migtools.create(device, 19))
        process.kill()


@pytest.mark.parametrize(("action", "instances"), [("kill", 0), ("kill-after", 1)])
def test_a_caller_dies_before_or_after_the_effect(mig_gpu, action, instances):
    """SIGKILL hits the caller at the entrance of the call or once it has had its effect, and the node is whole."""
    device = mig_gpu(A100)
    code = "d, i = ctypes.c_void_p(), ctypes.c_void_p(); library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(d))\n"
    code += "library.nvmlDeviceCreateGpuInstance(d, 19, ctypes.byref(i))"
    faults = f"nvmlDeviceCreateGpuInstance#1={action}"
    assert call_in_process(code, HAMI_SIM_FAULTS=faults) == -signal.SIGKILL
    assert len(migtools.all_instances(device)) == instances


@pytest.mark.parametrize(
    "rule",
    ["", "x=kill", "nvmlInit", "nvmlInit=", "nvmlInit=error:0", "nvmlInit=latency", "nvmlX#0=kill", "nvmlX@=kill"],
)
def test_bad_faults_are_explained(node, rule):
    """A rule that cannot be read is refused with an example, in both places where rules are given."""
    node("1xA30")
    with pytest.raises(UsageError, match="for example"):
        control.add_fault(rule)
    if rule:
        assert call_in_process("exit(start)", HAMI_SIM_FAULTS=rule) == pynvml.NVML_ERROR_DRIVER_NOT_LOADED


def test_init_can_fail_too(make_state, clean_environment):
    """A fault of nvmlInit leaves nothing open."""
    make_state("1xA30")
    clean_environment.setenv("HAMI_SIM_FAULTS", "nvmlInit*#1=error:999")
    with pytest.raises(pynvml.NVMLError_Unknown):
        pynvml.nvmlInit()
    assert migtools.fails(pynvml.NVML_ERROR_UNINITIALIZED, pynvml.nvmlShutdown)


def test_a_lost_gpu_is_lost_alone(mig_gpu):
    """A GPU off the bus answers GPU_IS_LOST everywhere while the others go on; returned, it is as before."""
    mig_gpu(A100, count=2)
    first, second = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(2))
    instance, _ = migtools.whole(first, 14, 1)
    uuid = uuid_of(first)
    control.set_knob("lost", "1", uuid=uuid)
    lost = pynvml.NVML_ERROR_GPU_IS_LOST
    for call in (pynvml.nvmlDeviceGetName, pynvml.nvmlDeviceGetMemoryInfo, pynvml.nvmlDeviceGetMigMode):
        assert migtools.fails(lost, call, first)
    assert migtools.fails(lost, pynvml.nvmlGpuInstanceGetInfo, instance)
    assert migtools.fails(lost, pynvml.nvmlDeviceGetHandleByIndex, 0)
    assert migtools.fails(lost, pynvml.nvmlDeviceGetHandleByUUID, uuid)
    assert pynvml.nvmlDeviceGetCount() == 2
    assert pynvml.nvmlDeviceGetName(second)
    control.set_knob("lost", "0", uuid=uuid)
    assert migtools.info(instance)[1] == 14


def test_a_gpu_is_named_in_three_ways(node):
    """Knobs and incidents take UUID, index and PCI address, also of a GPU that NVML no longer finds."""
    node("2xA30")
    device = pynvml.nvmlDeviceGetHandleByIndex(1)
    for name in (uuid_of(device), "1", pynvml.nvmlDeviceGetPciInfo(device).busId):
        for value, works in (("1", False), ("0", True)):
            control.set_knob("lost", value, uuid=name)
            assert migtools.fails(pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.nvmlDeviceGetName, device) is not works
    for name in ("2", "-1", "1x", "", "4294967297"):
        with pytest.raises(UsageError, match="no GPU"):
            control.set_knob("lost", "1", uuid=name)


def test_gpu_instance_ids_can_be_swapped(mig_gpu):
    """The swapped map gives the ids that swapped boards gave (reference 1.3)."""
    device = mig_gpu(A100)
    control.set_knob("gi_ids", "swapped")
    for profile_id, size, ids in (
        (9, 4, {4: 1, 0: 2}),
        (14, 2, {4: 3, 0: 5, 2: 6}),
        (19, 1, {4: 7, 6: 9, 0: 11, 3: 14}),
    ):
        for start, wanted in ids.items():
            instance = migtools.create(device, profile_id, start, size)
            assert migtools.info(instance)[0] == wanted
            pynvml.nvmlGpuInstanceDestroy(instance)
    whole = migtools.create(device, 0)
    assert migtools.info(whole)[0] == 0


def test_mig_uuids_can_change_on_recreation(mig_gpu):
    """With fresh UUIDs the same place never has the same UUID twice."""
    device = mig_gpu(A100)
    control.set_knob("uuids", "fresh")
    seen = set()
    for _ in range(3):
        instance, compute = migtools.whole(device, 14, 1, 0, 2)
        seen.add(uuid_of(migtools.mig_devices(device)[0]))
        pynvml.nvmlComputeInstanceDestroy(compute)
        pynvml.nvmlGpuInstanceDestroy(instance)
    assert len(seen) == 3


def test_info_device_can_be_the_mig_device(mig_gpu):
    """ComputeInstanceGetInfo names the parent, or the MIG device where the knob says so."""
    device = mig_gpu(A100)
    _, compute = migtools.whole(device, 14, 1)
    assert migtools.address(pynvml.nvmlComputeInstanceGetInfo(compute).device) == migtools.address(device)
    control.set_knob("info_device", "mig")
    mig = pynvml.nvmlComputeInstanceGetInfo(compute).device
    assert pynvml.nvmlDeviceIsMigDeviceHandle(mig).value == 1


def test_activation_can_be_forced(node):
    """On a passed-through GPU the mode call succeeds with RESET_REQUIRED, and a reset makes the mode current."""
    node(f"1x{A100}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    control.set_knob("activation", "16")
    assert pynvml.nvmlDeviceSetMigMode(device, 1) == pynvml.NVML_ERROR_RESET_REQUIRED
    assert pynvml.nvmlDeviceGetMigMode(device) == [0, 1]
    control.reset_gpu(uuid_of(device))
    assert pynvml.nvmlDeviceGetMigMode(device) == [1, 1]


def test_changes_can_need_root(make_state, clean_environment):
    """With root_only a caller that is not root may look at devices but not change or list instances."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    clean_environment.delenv("HAMI_SIM_STATE", raising=False)
    code = """
import os
def control(function, *arguments): assert getattr(library, function)(None, *arguments, None, 0) == 0
d, i, n, s = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(d))
assert library.nvmlDeviceSetMigMode(d, 1, ctypes.byref(s)) == 0
control("hami_sim_set", None, b"root_only", b"1")
os.setuid(65534)
answers = [library.nvmlDeviceSetMigMode(d, 0, ctypes.byref(s)),
           library.nvmlDeviceCreateGpuInstance(d, 14, ctypes.byref(i)),
           library.nvmlDeviceGetGpuInstanceRemainingCapacity(d, 14, ctypes.byref(n)),
           library.nvmlDeviceGetMigMode(d, ctypes.byref(n), ctypes.byref(s))]
exit(0 if answers == [4, 4, 4, 0] else 1)
"""
    assert call_in_process(code, HAMI_SIM_NODE="1xA30") == 0


def test_memory_and_names_drift_with_the_driver(mig_gpu):
    """Another driver reports other sizes and names for the same profile ids."""
    device = mig_gpu("RTX-PRO-6000")
    control.set_knob("memory_drift_mib", "-512")
    control.set_knob("name_drift_gb", "-1")
    control.set_knob("driver_version", "575.51.03")
    profile = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(device, 7)
    assert (profile.id, profile.name, profile.memorySizeMB) == (21, "MIG 1g.23gb+me", 23680)
    migtools.whole(device, 21, 0)
    mig = migtools.mig_devices(device)[0]
    assert pynvml.nvmlDeviceGetName(mig).endswith("MIG 1g.23gb+me")
    assert pynvml.nvmlDeviceGetMemoryInfo(mig).total == 23680 * 2**20
    assert pynvml.nvmlSystemGetDriverVersion() == "575.51.03"


def test_the_driver_can_be_absent_or_late(make_state):
    """A node without a driver answers DRIVER_NOT_LOADED until it is there."""
    state = make_state("1xA30")
    for value in ("absent", "later:600000"):
        control.set_knob("driver", value, state=state)
        assert migtools.fails(pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.nvmlInit)
    control.set_knob("driver", "later:1", state=state)
    until(lambda: not migtools.fails(pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.nvmlInit))
    pynvml.nvmlShutdown()


@pytest.mark.parametrize(("board", "mode"), [(A100, [1, 1]), ("H100-80GB-SXM5", [0, 0])])
def test_a_reboot_takes_the_instances(mig_gpu, board, mode):
    """After a reboot instances and processes are gone; Ampere keeps MIG mode, later boards forget it."""
    device = mig_gpu(board)
    instance, _ = migtools.whole(device, 14, 1)
    control.add_process(uuid_of(migtools.mig_devices(device)[0]), os.getpid(), 10)
    control.reboot()
    assert pynvml.nvmlDeviceGetMigMode(device) == mode
    assert control.processes() == []
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.nvmlGpuInstanceGetInfo, instance)


def test_a_reset_needs_an_idle_gpu(mig_gpu):
    """A reset with clients is refused; idle it takes the instances and clears the recovery action."""
    device = mig_gpu(A100)
    migtools.whole(device, 14, 1)
    control.set_knob("reset_required", "1", uuid=uuid_of(device))
    (field,) = pynvml.nvmlDeviceGetFieldValues(device, [230])
    assert (field.nvmlReturn, field.value.uiVal) == (0, 1)
    control.add_process(uuid_of(migtools.mig_devices(device)[0]), os.getpid(), 10)
    with pytest.raises(UsageError, match="clients"):
        control.reset_gpu(uuid_of(device))
    control.remove_process(os.getpid())
    control.reset_gpu(uuid_of(device))
    assert migtools.all_instances(device) == []
    (field,) = pynvml.nvmlDeviceGetFieldValues(device, [230])
    assert field.value.uiVal == 0


def test_bad_knobs_are_explained(node):
    """Unknown knobs, values and devices are refused in words."""
    node("1xA30")
    for arguments, text in (
        (("colour", "blue"), "no knob"),
        (("gi_ids", "blue"), "not a value"),
        (("memory_drift_mib", "1e9"), "not a value"),
        (("driver", "later:-1"), "not a value"),
        (("root", "relative"), "not a value"),
    ):
        with pytest.raises(UsageError, match=text):
            control.set_knob(*arguments)
    with pytest.raises(UsageError, match="no GPU"):
        control.set_knob("lost", "1", uuid="GPU-none")
