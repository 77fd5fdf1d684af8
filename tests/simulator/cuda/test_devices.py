# SPDX-License-Identifier: Apache-2.0
"""Which devices a CUDA process sees, and what they say of themselves."""

from __future__ import annotations

import pynvml
import pytest
from support import migtools

from hamid.node.simulation import control

SPEC = "2xA100-SXM4-40GB,1xA30"
NO_DEVICE, INVALID_DEVICE, NOT_INITIALIZED = 100, 101, 3
MEMORY_MIB = [40960, 40960, 24576]


def bare(uuid):
    """The digits of a UUID, as bytes print."""
    return uuid.removeprefix("GPU-").removeprefix("MIG-").replace("-", "")


@pytest.fixture
def gpus(node):
    """Three GPUs without MIG: the state file and their UUIDs."""
    state = node(SPEC)
    return state, [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(3)]


def visible(cuda, state, value):
    """The UUIDs that a process with this CUDA_VISIBLE_DEVICES sees, or the code of its cuInit."""
    more = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    found = cuda(state, opened=False, **more)("d.devices()")
    return found if isinstance(found, int) else [uuid for uuid, _ in found]


CHOICES = [
    (None, [0, 1, 2]),
    ("2,0", [2, 0]),
    (" 1 , 2", [1, 2]),
    ("0,7,1", [0]),
    ("1,-1,0", [1]),
    ("1,x", [1]),
    ("0x1", None),
    ("", None),
    ("-1", None),
    ("NoDevFiles", None),
    ("1,1", None),
    ("{1}", [1]),
    ("{2},0", [2, 0]),
    ("{1:12}", [1]),
    ("0,{1:4}", [0]),
    ("GPU-00000000", None),
]


@pytest.mark.parametrize(("value", "expected"), CHOICES)
def test_visible_devices_by_index_and_uuid(cuda, gpus, value, expected):
    """The list gives number and order; its first entry that means nothing hides the rest; twice the same hides all."""
    state, uuids = gpus
    for index, uuid in enumerate(uuids):
        for length in (4, 12):
            value = value and value.replace(f"{{{index}:{length}}}", uuid[:length])
        value = value and value.replace(f"{{{index}}}", uuid)
    found = visible(cuda, state, value)
    assert found == (NO_DEVICE if expected is None else [bare(uuids[index]) for index in expected])


@pytest.fixture
def mixed(node):
    """A GPU with two MIG devices, a GPU with MIG on and none, and one without MIG: state, GPU and MIG UUIDs."""
    state = node(SPEC)
    devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(3)]
    for device in devices[:2]:
        pynvml.nvmlDeviceSetMigMode(device, 1)
    migtools.whole(devices[0], 14, 1)
    migtools.whole(devices[0], 19, 0)
    migs = migtools.mig_devices(devices[0]).values()
    gpu_uuids = [pynvml.nvmlDeviceGetUUID(device) for device in devices]
    return state, gpu_uuids, [pynvml.nvmlDeviceGetUUID(mig) for mig in migs]


def test_a_process_sees_one_mig_device_at_most(cuda, mixed):
    """A MIG device is alone; without a choice it is the first one; a GPU in MIG mode without instances is none."""
    state, gpus, migs = mixed
    first, second = (bare(uuid) for uuid in migs)
    assert visible(cuda, state, None) == [first]
    assert visible(cuda, state, f"{migs[1]},{migs[0]}") == [second]
    assert visible(cuda, state, f"2,{migs[1]}") == [second]
    assert visible(cuda, state, "0") == visible(cuda, state, gpus[0]) == [first]
    assert visible(cuda, state, "1,2") == NO_DEVICE
    assert visible(cuda, state, "2") == [bare(gpus[2])]
    assert visible(cuda, state, migs[1][:13]) == [second]
    assert visible(cuda, state, "MIG-") == NO_DEVICE
    assert visible(cuda, state, f"MIG-{gpus[0]}/5/0") == [first]
    assert visible(cuda, state, f"MIG-{gpus[0]}/4/0") == NO_DEVICE


def test_a_mig_device_has_its_own_size_and_name(cuda, mixed):
    """Memory, name, UUID and multiprocessors are those of the instance; the old UUID call names the GPU."""
    state, gpus, migs = mixed
    client = cuda(state, CUDA_VISIBLE_DEVICES=migs[1])
    assert client("d.devices()") == [(bare(migs[1]), 4864)]
    assert client("d.text('cuDeviceGetName', 100)") == "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    assert client("d.attribute(16)") == 14
    assert client("(lambda b: [d.call('cuDeviceGetUuid', b, 0), bytes(b).hex()][1])((ctypes.c_ubyte * 16)())") == bare(
        gpus[0]
    )


def test_a_gpu_tells_what_its_board_is(cuda, gpus):
    """Name, bus id, memory, capability and multiprocessors agree with NVML and the data sheet."""
    state, _ = gpus
    client = cuda(state)
    assert [memory for _, memory in client("d.devices()")] == MEMORY_MIB
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert client("d.text('cuDeviceGetName', 100)") == pynvml.nvmlDeviceGetName(device)
    assert client("d.text('cuDeviceGetPCIBusId', 20)") == pynvml.nvmlDeviceGetPciInfo(device).busId[4:]
    assert [client(f"d.attribute({number})") for number in (75, 76, 16, 10, 102, 115)] == [8, 0, 108, 32, 1, 1]
    assert client("d.code('cuDeviceGetAttribute', ctypes.byref(ctypes.c_int()), 16, 3)") == INVALID_DEVICE
    assert client("d.get('cuDriverGetVersion', kind=ctypes.c_int)") == pynvml.nvmlSystemGetCudaDriverVersion()


@pytest.mark.parametrize("board", sorted({board.key for board in control.boards()}))
def test_every_board_is_a_cuda_device(node, cuda, board):
    """Each board that a node can have takes memory, launches a kernel, and has the size that NVML tells, if it does."""
    client = cuda(node(f"1x{board}"))
    free, total = client("d.info()")
    assert free == total >= 20 << 30
    try:
        assert total == pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).total
    except pynvml.NVMLError_NotSupported:
        assert board in {"GB200-186GB", "GH200-144GB"}
    assert client(f"d.alloc({total})") > 0
    assert client("d.launch(d.kernel())") is None
    assert client("d.attribute(75)") in {8, 9, 10, 12}
    assert client("d.attribute(16)") >= 56


def test_a_lost_gpu_or_an_absent_driver_is_not_there(cuda, gpus):
    """A GPU off the bus is skipped; a node without a driver, or no node at all, is NO_DEVICE."""
    state, uuids = gpus
    control.set_knob("lost", "1", uuid=uuids[0], state=state)
    assert visible(cuda, state, None) == [bare(uuid) for uuid in uuids[1:]]
    control.set_knob("driver", "absent", state=state)
    assert visible(cuda, state, None) == NO_DEVICE
    assert visible(cuda, f"{state}.none", None) == NO_DEVICE


def test_nothing_works_before_cuinit(cuda, gpus):
    """Without cuInit calls are NOT_INITIALIZED, also those that the driver only knows by name; the version is told."""
    client = cuda(gpus[0], opened=False)
    calls = (
        "d.code('cuDeviceGetCount', ctypes.byref(ctypes.c_int()))",
        "d.code('cuMemAlloc_v2', ctypes.byref(u64()), ctypes.c_size_t(1))",
        "d.code('cuGreenCtxCreate')",
    )
    assert {client(call) for call in calls} == {NOT_INITIALIZED}
    assert client("d.get('cuDriverGetVersion', kind=ctypes.c_int)") == 13000


def test_contexts_stack_per_thread(cuda, gpus):
    """Contexts push, pop and are destroyed as documented, each on its device; a destroyed one is told."""
    client = cuda(gpus[0], opened=False)
    client("d.call('cuInit', 0)")
    first = client("d.get('cuCtxCreate_v2', 0, 0)")
    second = client("d.get('cuCtxCreate_v4', None, 0, 1)")
    current = "d.get('cuCtxGetCurrent')"
    assert client(current) == second
    assert client("d.get('cuCtxGetDevice', kind=ctypes.c_int)") == 1
    assert client("d.get('cuCtxPopCurrent_v2')") == second
    assert client(current) == first
    assert client(f"d.code('cuCtxSetCurrent', u64({second}))") == 0
    assert client(f"d.code('cuCtxDestroy_v2', u64({first}))") == 0
    assert client(f"d.code('cuCtxPushCurrent_v2', u64({first}))") == 201
    assert client(f"d.code('cuCtxDestroy_v2', u64({second}))") == 0
    assert client("d.code('cuCtxGetDevice', ctypes.byref(ctypes.c_int()))") == 201
    assert client("d.code('cuCtxPopCurrent_v2', None)") == 201
    assert client("d.code('cuCtxCreate_v2', ctypes.byref(u64()), 0, 9)") == INVALID_DEVICE
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0)) == []
