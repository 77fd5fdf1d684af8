# SPDX-License-Identifier: Apache-2.0
"""libvgpu rests on the driver's interface alone: it limits memory on a driver that is not ours and can do little."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.sharing import LIBRARY

CLIENT = """
import ctypes, json, sys
cuda = ctypes.CDLL("libcuda.so.1")
context = ctypes.c_void_p()
def alloc(mib):
    pointer = ctypes.c_ulonglong()
    return (cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(mib << 20)), pointer.value)
def free(pointer):
    return cuda.cuMemFree_v2(ctypes.c_ulonglong(pointer))
def info():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    return [cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), free.value >> 20, total.value >> 20]
def total(device):
    bytes = ctypes.c_size_t()
    return [cuda.cuDeviceTotalMem_v2(ctypes.byref(bytes), device), bytes.value >> 20]
def enter(device):
    return cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device)
def leave():
    return cuda.cuCtxDestroy_v2(context)
def used(device):
    return cuda.foreign_used(device) >> 20
cuda.cuInit(0)
print(json.dumps([eval(line) for line in sys.argv[1:]]))
"""


@pytest.fixture(params=["little", "bare"])
def driver(request, tmp_path):
    """A folder with that libcuda.so.1."""
    return build(tmp_path, *(["-DBARE"] if request.param == "bare" else []))


def build(folder, *flags):
    source, target = Path(__file__).parent / "programs/foreign.c", folder / "libcuda.so.1"
    subprocess.run(["cc", "-std=gnu11", "-O1", "-shared", "-fPIC", *flags, "-o", target, source], check=True)
    return folder


def run(driver, *lines, preload=True):
    """What a client on that driver answers to each of these lines."""
    environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(driver)}
    if preload:
        environment |= {
            "LD_PRELOAD": LIBRARY,
            "CUDA_DEVICE_MEMORY_LIMIT": "100m",
            "CUDA_DEVICE_MEMORY_LIMIT_1": "200m",
            "CUDA_DEVICE_MEMORY_SHARED_CACHE": str(driver / "cache"),
        }
    command = [sys.executable, "-c", CLIENT, *lines]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_small_driver_is_limited(driver):
    """To the byte; views agree; its errors are its own."""
    lines = ["alloc(1)[0]", "enter(0)", "total(0)", "alloc(41)[0]", "alloc(60)[0]", "alloc(59)[0]", "alloc(1)[0]"]
    assert run(driver, *lines) == [201, 0, [0, 100], 0, 2, 0, 2]
    assert run(driver, "enter(0)", "alloc(100)[0]", "info()", "used(0)") == [0, 0, [0, 0, 100], 100]
    assert run(driver, "enter(0)", "free(alloc(100)[1])", "info()", "used(0)") == [0, 0, [0, 100, 100], 0]


def test_what_a_driver_lacks_is_lacking(driver):
    """A client that looks whether there is a function finds what is true."""
    assert run(driver, *(f"hasattr(cuda, '{name}')" for name in ("cuMemCreate", "cuMemAllocAsync"))) == [False, False]


def test_the_same_client_without_libvgpu_has_it_all(driver):
    """The limit is ours, not the driver's."""
    assert run(driver, "enter(0)", "alloc(1000)[0]", "total(0)", preload=False) == [0, 0, [0, 1024]]


def test_an_address_that_was_another_gpus_context_is_known_anew(tmp_path):
    """What is allocated in a context counts on its GPU, though that address was a context of the other one before."""
    lines = ["enter(0)", "info()", "alloc(1)[0]", "leave()", "enter(1)", "info()", "alloc(150)[0]", "info()", "leave()"]
    told = run(build(tmp_path), *lines, "enter(0)", "info()", "alloc(101)[0]")
    assert told == [0, [0, 100, 100], 0, 0, 0, [0, 200, 200], 0, [0, 50, 200], 0, 0, [0, 100, 100], 2]
