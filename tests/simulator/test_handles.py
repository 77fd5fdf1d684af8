# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes

import pynvml
from support import migtools

A100 = "A100-SXM4-40GB"
INVALID = pynvml.NVML_ERROR_INVALID_ARGUMENT


def test_handles_are_aligned_and_stable(mig_gpu):
    """The same object always has the same handle, on a 16-byte boundary, and no other object shares it."""
    device = mig_gpu(A100, count=2)
    instance, compute = migtools.whole(device, 14, 1)
    again = pynvml.nvmlDeviceGetHandleByIndex(0)
    addresses = [
        migtools.address(handle)
        for handle in (device, pynvml.nvmlDeviceGetHandleByIndex(1), instance, compute, migtools.mig_devices(device)[0])
    ]
    assert migtools.address(again) == addresses[0]
    assert migtools.address(migtools.instances(device, 14)[0]) == addresses[2]
    assert len(set(addresses)) == 5
    assert all(address % 16 == 0 for address in addresses)


def test_handles_are_never_given_twice(mig_gpu):
    """Ten thousand instances in the same place have ten thousand different handles, and the old ones stay invalid."""
    device = mig_gpu(A100)
    seen = []
    for _ in range(10_000):
        instance = migtools.create(device, 19, 0, 1)
        seen.append(instance)
        pynvml.nvmlGpuInstanceDestroy(instance)
    assert len({migtools.address(handle) for handle in seen}) == 10_000
    living = migtools.create(device, 19, 0, 1)
    for handle in (seen[0], seen[5_000], seen[-1]):
        assert migtools.fails(INVALID, pynvml.nvmlGpuInstanceGetInfo, handle)
        assert migtools.fails(INVALID, pynvml.nvmlGpuInstanceDestroy, handle)
    assert migtools.info(living)[2] == 0


def test_handles_of_the_dead_are_invalid(mig_gpu):
    """Handles of destroyed instances and of their MIG device stay invalid when the place is filled again."""
    device = mig_gpu(A100)
    instance, compute = migtools.whole(device, 14, 1, 0, 2)
    mig = migtools.mig_devices(device)[0]
    pynvml.nvmlComputeInstanceDestroy(compute)
    pynvml.nvmlGpuInstanceDestroy(instance)
    migtools.whole(device, 14, 1, 0, 2)
    assert migtools.fails(INVALID, pynvml.nvmlComputeInstanceGetInfo, compute)
    assert migtools.fails(INVALID, pynvml.nvmlComputeInstanceDestroy, compute)
    assert migtools.fails(INVALID, pynvml.nvmlGpuInstanceGetInfo, instance)
    assert migtools.fails(INVALID, pynvml.nvmlDeviceGetUUID, mig)
    assert migtools.fails(INVALID, pynvml.nvmlDeviceGetMemoryInfo, mig)


def test_garbage_is_invalid_and_harmless(mig_gpu):
    """NULL, small numbers, misaligned handles and foreign memory are refused by every kind of call."""
    device = mig_gpu(A100)
    own = ctypes.create_string_buffer(256)
    base = migtools.address(device)
    for value in (None, 1, 16, 2**63, base + 1, base + 8, base + 16, base + 64 * 1000, ctypes.addressof(own)):
        garbage = ctypes.cast(ctypes.c_void_p(value), pynvml.c_nvmlDevice_t)
        assert migtools.fails(INVALID, pynvml.nvmlDeviceGetUUID, garbage)
        assert migtools.fails(INVALID, pynvml.nvmlDeviceGetMigMode, garbage)
        assert migtools.fails(INVALID, pynvml.nvmlGpuInstanceDestroy, garbage)
        assert migtools.fails(INVALID, pynvml.nvmlComputeInstanceDestroy, garbage)
    assert migtools.fails(INVALID, pynvml.nvmlGpuInstanceDestroy, device)


def test_handles_end_with_the_library(make_state):
    """After the last shutdown every call is UNINITIALIZED, after the next init old handles are invalid."""
    make_state("1xA30")
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    pynvml.nvmlShutdown()
    closed = pynvml.NVML_ERROR_UNINITIALIZED
    assert migtools.fails(closed, pynvml.nvmlDeviceGetUUID, device)
    assert migtools.fails(closed, pynvml.nvmlDeviceGetCount)
    assert migtools.fails(closed, pynvml.nvmlShutdown)
    pynvml.nvmlInit()
    assert migtools.fails(INVALID, pynvml.nvmlDeviceGetUUID, device)
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0)).startswith("GPU-")
    pynvml.nvmlShutdown()


def test_inits_are_counted(make_state):
    """Nested inits need as many shutdowns, and only the outermost reads the environment."""
    make_state("1xA30")
    pynvml.nvmlInit()
    make_state("2xA30")
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    assert pynvml.nvmlDeviceGetCount() == 1
    pynvml.nvmlShutdown()
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetCount() == 2
    pynvml.nvmlShutdown()


def test_missing_pointers_are_refused(mig_gpu):
    """A NULL where an answer should go is INVALID_ARGUMENT, never a crash."""
    device = mig_gpu(A100)
    library = ctypes.CDLL("libnvidia-ml.so.1")
    for name in ("nvmlDeviceGetUUID", "nvmlDeviceGetMigMode", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName"):
        assert getattr(library, name)(device, None, None) == INVALID
    assert library.nvmlDeviceCreateGpuInstance(device, 19, None) == INVALID
    assert library.nvmlDeviceCreateGpuInstanceWithPlacement(device, 19, None, None) == INVALID
    assert library.nvmlDeviceGetGpuInstances(device, 19, None, None) == INVALID
    assert migtools.all_instances(device) == []
