# SPDX-License-Identifier: Apache-2.0
"""Other people's CUDA clients, as PyPI has them, run unchanged on a simulated node and agree with NVML."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pynvml
import pytest
from support.cudatools import MIB, environment

from hamid.node.simulation import control

A100 = "1xA100-SXM4-40GB"


def need(*modules):
    """A skip that says what is missing."""
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"{module} is not installed here: pip install '.[dev,cuda]' has it")


def run(state, program, **more):
    """What a program prints as JSON; it must succeed."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(
        command, env=environment(state, **more), cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


BINDINGS = """
import ctypes, json, pynvml
from cuda.bindings import driver
def ok(answer):
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer
    return answer[1] if len(answer) == 2 else answer[1:]
ok(driver.cuInit(0))
device = ok(driver.cuDeviceGet(0))
context = ok(driver.cuDevicePrimaryCtxRetain(device))
ok(driver.cuCtxSetCurrent(context))
pointer = ok(driver.cuMemAlloc(100 << 20))
data, back = ctypes.create_string_buffer(b"through the device"), ctypes.create_string_buffer(18)
ok(driver.cuMemcpyHtoD(pointer, ctypes.addressof(data), 18))
ok(driver.cuMemcpyDtoH(ctypes.addressof(back), pointer, 18))
stream = ok(driver.cuStreamCreate(0))
pooled = ok(driver.cuMemAllocAsync(1 << 20, stream))
refused = driver.cuMemAlloc(1 << 45)[0]
pynvml.nvmlInit()
nvml = pynvml.nvmlDeviceGetHandleByIndex(0)
seen = pynvml.nvmlDeviceGetMemoryInfo(nvml).used
(process,) = pynvml.nvmlDeviceGetComputeRunningProcesses(nvml)
free, total = ok(driver.cuMemGetInfo())
ok(driver.cuMemFreeAsync(pooled, stream))
ok(driver.cuStreamSynchronize(stream))
ok(driver.cuMemFree(pointer))
print(json.dumps({"total": total, "used": total - free, "nvml": seen, "process": process.usedGpuMemory,
    "text": back.raw.decode(), "refused": refused.name,
    "left": (lambda pair: pair[1] - pair[0])(ok(driver.cuMemGetInfo()))}))
"""


def test_cuda_bindings(node):
    """NVIDIA's cuda-bindings allocates, copies, is refused beyond the end, and sees what pynvml sees."""
    need("cuda.bindings")
    found = run(node(A100), BINDINGS)
    used = 102 * MIB  # the refused request took back what the pool kept beyond 2 MiB
    assert found == {
        "total": 40960 * MIB,
        "used": used,
        "nvml": used,
        "process": used,
        "text": "through the device",
        "refused": "CUDA_ERROR_OUT_OF_MEMORY",
        "left": 0,
    }


CORE = """
import json
from cuda.core import Device
device = Device()
device.set_current()
stream = device.create_stream()
buffer = device.memory_resource.allocate(3 << 20, stream=stream)
start = stream.record()
stream.sync()
print(json.dumps({"name": device.name, "uuid": device.uuid, "size": buffer.size,
    "capability": list(device.compute_capability), "multiprocessors": device.properties.multiprocessor_count}))
buffer.close(stream)
"""


def test_cuda_core(node):
    """NVIDIA's cuda.core has a device, a stream, memory of the default pool and an event."""
    need("cuda.core")
    found = run(node(A100), CORE)
    uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
    assert found == {
        "name": "NVIDIA A100-SXM4-40GB",
        "uuid": uuid.removeprefix("GPU-"),
        "size": 3 * MIB,
        "capability": [8, 0],
        "multiprocessors": 108,
    }


GRAPH = """
import json
from cuda.core import Device, LaunchConfig, ObjectCode, launch
device = Device()
device.set_current()
stream = device.create_stream()
text = b".version 8.0\\n.target sm_80\\n.address_size 64\\n.visible .entry kernel() { ret; }\\n"
kernel = ObjectCode.from_ptx(text).get_kernel("kernel")
def build(tail):
    builder = device.create_graph_builder().begin_building()
    launch(builder, LaunchConfig(grid=1, block=1), kernel)
    left, right = builder.split(2)
    for branch in (left, right):
        launch(branch, LaunchConfig(grid=1, block=1), kernel)
    builder = type(builder).join(left, right)
    for _ in range(tail):
        launch(builder, LaunchConfig(grid=1, block=1), kernel)
    return builder.end_building()
graph = build(1).complete()
graph.update(build(1))
graph.upload(stream)
for _ in range(3):
    graph.launch(stream)
stream.sync()
from hamid.node.simulation import control
import os
print(json.dumps([use.launches for use in control.usage(os.environ["HAMI_SIM_STATE"])]))
"""


def test_cuda_core_builds_graphs(node):
    """A graph recorded from streams that part and join, updated by an equal one, launches four kernels each time."""
    need("cuda.core")
    assert run(node(A100), GRAPH) == [12]


COMPILE = """
import json
from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch
device = Device()
device.set_current()
stream = device.create_stream()
code = 'extern "C" __global__ void scale(float *x) { x[threadIdx.x] *= 2; }'
program = Program(code, code_type="c++", options=ProgramOptions(arch="sm_80"))
buffer = device.allocate(4096, stream=stream)
for kind in ("cubin", "ptx"):
    kernel = program.compile(kind).get_kernel("scale")
    launch(stream, LaunchConfig(grid=4, block=256), kernel, buffer)
stream.sync()
print(json.dumps(buffer.size))
"""


@pytest.mark.full
def test_cuda_core_compiles_and_launches(node):
    """NVRTC's cubin and PTX are loaded as libraries, their kernel is found and launched, the launches are counted."""
    need("cuda.core", "cuda.bindings.nvrtc", "nvidia.cu13")
    state = node(A100)
    control.set_knob("kernel_us", "10", state=state)
    assert run(state, COMPILE) == 4096


NUMBA_COPY = """
import json, numpy
from numba import cuda
array = numpy.arange(100000, dtype=numpy.float32)
before = cuda.current_context().get_memory_info()
on_device = cuda.to_device(array)
after = cuda.current_context().get_memory_info()
print(json.dumps([bool((on_device.copy_to_host() == array).all()), before.free - after.free, after.total]))
"""


def test_numba_copies(node):
    """numba-cuda moves an array to the device and back, and sees the memory that it takes."""
    need("numba_cuda")
    assert run(node(A100), NUMBA_COPY) == [True, 400384, 40960 * MIB]


NUMBA_LAUNCH = """
import json, numpy
from numba import cuda
@cuda.jit
def increment(x):
    index = cuda.grid(1)
    if index < x.size:
        x[index] += 1
on_device = cuda.to_device(numpy.zeros(1000, dtype=numpy.float32))
increment[8, 128](on_device)
cuda.synchronize()
print(json.dumps(sorted(increment.overloads)[0][0].name))
"""


@pytest.mark.full
def test_numba_compiles_and_launches(node):
    """numba-cuda compiles a kernel with NVVM, links it through the driver and launches it."""
    need("numba_cuda", "nvidia.cu13")
    assert "float32" in run(node(A100), NUMBA_LAUNCH)
