# SPDX-License-Identifier: Apache-2.0
"""The NVML surface in C's style that nvidia-ml-py leaves to its callers, once for all simulator tests."""

from __future__ import annotations

import ctypes

import pynvml

PROFILE_ENUMS = range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT)


def address(handle):
    """What a handle points to: handles themselves compare unequal."""
    return ctypes.cast(handle, ctypes.c_void_p).value


def fails(error, function, *arguments):
    """Whether the call raises exactly this NVML error."""
    try:
        function(*arguments)
    except pynvml.NVMLError as raised:
        return raised.value == error
    return False


def profiles(device):
    """Every GPU instance profile of a device by its enumeration value."""
    found = {}
    for value in PROFILE_ENUMS:
        try:
            found[value] = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(device, value)
        except pynvml.NVMLError_NotSupported:
            continue
    return found


def placements(device, profile_id):
    """The possible placements of a profile as (start, size)."""
    count = ctypes.c_uint()
    pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(device, profile_id, None, ctypes.byref(count))
    rows = (pynvml.c_nvmlGpuInstancePlacement_t * count.value)()
    pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(device, profile_id, rows, ctypes.byref(count))
    return [(row.start, row.size) for row in rows]


def create(device, profile_id, start=None, size=None):
    """A GPU instance, at a start or where the driver likes."""
    if start is None:
        return pynvml.nvmlDeviceCreateGpuInstance(device, profile_id)
    placement = pynvml.c_nvmlGpuInstancePlacement_t(start, size)
    return pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(device, profile_id, ctypes.byref(placement))


def whole(device, profile_id, compute_profile, start=None, size=None):
    """A GPU instance with a compute instance."""
    instance = create(device, profile_id, start, size)
    return instance, pynvml.nvmlGpuInstanceCreateComputeInstance(instance, compute_profile)


def instances(device, profile_id):
    """The GPU instances of a profile."""
    count = ctypes.c_uint()
    rows = (pynvml.c_nvmlGpuInstance_t * 16)()
    pynvml.nvmlDeviceGetGpuInstances(device, profile_id, rows, ctypes.byref(count))
    return [pynvml.c_nvmlGpuInstance_t.from_buffer_copy(rows[index]) for index in range(count.value)]


def compute_instances(instance, profile_id):
    """The compute instances of a profile in a GPU instance."""
    count = ctypes.c_uint()
    rows = (pynvml.c_nvmlComputeInstance_t * 16)()
    pynvml.nvmlGpuInstanceGetComputeInstances(instance, profile_id, rows, ctypes.byref(count))
    return [pynvml.c_nvmlComputeInstance_t.from_buffer_copy(rows[index]) for index in range(count.value)]


def info(instance):
    """GI id, profile id, start and size of a GPU instance."""
    facts = pynvml.nvmlGpuInstanceGetInfo(instance)
    return facts.id, facts.profileId, facts.placement.start, facts.placement.size


def all_instances(device):
    """Every GPU instance of a device."""
    return [row for facts in profiles(device).values() for row in instances(device, facts.id)]


def mig_devices(device):
    """MIG index and handle of every MIG device; indices may have holes."""
    found = {}
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(device)):
        try:
            found[index] = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index)
        except pynvml.NVMLError_NotFound:
            continue
    return found


def drain(device):
    """Destroys every instance of a device."""
    for instance in all_instances(device):
        for profile in range(pynvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT):
            try:
                children = compute_instances(instance, profile)
            except pynvml.NVMLError_NotSupported:
                continue
            for child in children:
                pynvml.nvmlComputeInstanceDestroy(child)
        pynvml.nvmlGpuInstanceDestroy(instance)
