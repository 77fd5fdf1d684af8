# SPDX-License-Identifier: Apache-2.0
"""Other people's CUDA clients, as PyPI has them, live within a share: what they see and what they are refused."""

import importlib.util
import json
import sys

import pytest
from support.sharing import MIB

BINDINGS = """
from cuda.bindings import driver
def ok(answer):
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer
    return answer[1] if len(answer) == 2 else answer[1:]
ok(driver.cuInit(0))
ok(driver.cuCtxSetCurrent(ok(driver.cuDevicePrimaryCtxRetain(ok(driver.cuDeviceGet(0))))))
pointer = ok(driver.cuMemAlloc(90 << 20))
refused = driver.cuMemAllocAsync(20 << 20, ok(driver.cuStreamCreate(0)))[0].name
free, total = ok(driver.cuMemGetInfo())
ok(driver.cuMemFree(pointer))
"""
CORE = """
from cuda.core import Device
device = Device()
device.set_current()
stream = device.create_stream()
buffer = device.memory_resource.allocate(90 << 20, stream=stream)
try:
    refused = device.memory_resource.allocate(20 << 20, stream=stream)
except Exception as error:
    refused = str(error)
from cuda.bindings import driver
_, free, total = driver.cuMemGetInfo()
buffer.close(stream)
"""
NUMBA = """
import numpy
from numba import cuda
kept = cuda.to_device(numpy.zeros(90 << 20, dtype=numpy.uint8))
try:
    refused = cuda.to_device(numpy.zeros(20 << 20, dtype=numpy.uint8))
except Exception as error:
    refused = str(error)
free, total = cuda.current_context().get_memory_info()
"""
NVML = """
import pynvml
pynvml.nvmlInit()
info = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0))
"""


@pytest.mark.parametrize(
    ("module", "program"), [("cuda.bindings", BINDINGS), ("cuda.core", CORE), ("numba_cuda", NUMBA)]
)
def test_a_client_lives_within_its_share(container, module, program):
    """It gets its MiB, is refused more with CUDA's own OUT_OF_MEMORY, and sees the share as the whole GPU."""
    try:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed here: pip install '.[dev,cuda]' has it")
    except ModuleNotFoundError:
        pytest.skip(f"{module} is not installed here: pip install '.[dev,cuda]' has it")
    tell = "import json; print(json.dumps([str(refused), free, total, info.total, info.used]))"
    done = container(100).run(sys.executable, "-W", "ignore", "-c", program + NVML + tell)
    assert done.returncode == 0, done.stdout + done.stderr
    refused, free, total, nvml_total, nvml_used = json.loads(done.stdout.splitlines()[-1])
    assert "OUT_OF_MEMORY" in refused
    assert (free, total) == (10 * MIB, 100 * MIB)
    assert (nvml_total, nvml_used) in {(100 * MIB, 90 * MIB), (100 * MIB, 0)}
