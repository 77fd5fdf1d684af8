# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes

import pynvml
import pytest
from support import migtools

A100 = "A100-SXM4-40GB"


def test_gpus_are_shipped_with_mig_off(node):
    """A new GPU has MIG off; profiles and placements are known, instances and capacity are not."""
    node(f"1x{A100}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetMigMode(device) == [0, 0]
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(device) == 0
    assert migtools.placements(device, 14) == [(0, 2), (2, 2), (4, 2)]
    off = pynvml.NVML_ERROR_NOT_SUPPORTED
    assert migtools.fails(off, migtools.create, device, 19)
    assert migtools.fails(off, migtools.instances, device, 19)
    assert migtools.fails(off, pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity, device, 19)
    assert migtools.fails(off, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, device, 0)


@pytest.mark.parametrize("board", [A100, "A30", "H100-80GB-SXM5", "RTX-PRO-6000"])
def test_mode_toggles_at_once_on_an_idle_gpu(node, board):
    """Without clients the mode changes both ways, and other values are refused."""
    node(f"1x{board}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    for mode in (1, 1, 0, 0, 1):
        assert pynvml.nvmlDeviceSetMigMode(device, mode) == pynvml.NVML_SUCCESS
        assert pynvml.nvmlDeviceGetMigMode(device) == [mode, mode]
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.nvmlDeviceSetMigMode, device, 2)


def test_mode_stays_while_instances_exist(mig_gpu):
    """Disabling MIG with a GPU instance is IN_USE and changes nothing."""
    device = mig_gpu(A100)
    instance = migtools.create(device, 19)
    assert migtools.fails(pynvml.NVML_ERROR_IN_USE, pynvml.nvmlDeviceSetMigMode, device, 0)
    assert pynvml.nvmlDeviceGetMigMode(device) == [1, 1]
    pynvml.nvmlGpuInstanceDestroy(instance)
    assert pynvml.nvmlDeviceSetMigMode(device, 0) == pynvml.NVML_SUCCESS


def test_a_mig_device_is_a_compute_instance(mig_gpu):
    """Instances become MIG devices with name, UUID, ids, attributes and memory, and go in order."""
    device = mig_gpu(A100)
    instance, compute = migtools.whole(device, 14, 1, 4, 2)
    ((index, mig),) = migtools.mig_devices(device).items()
    assert pynvml.nvmlDeviceGetIndex(mig) == index == 0
    assert pynvml.nvmlDeviceGetName(mig) == "NVIDIA A100-SXM4-40GB MIG 2g.10gb"
    assert pynvml.nvmlDeviceIsMigDeviceHandle(mig).value == 1
    assert pynvml.nvmlDeviceIsMigDeviceHandle(device).value == 0
    assert (pynvml.nvmlDeviceGetGpuInstanceId(mig), pynvml.nvmlDeviceGetComputeInstanceId(mig)) == (5, 0)
    attributes = pynvml.nvmlDeviceGetAttributes(mig)
    assert (attributes.multiprocessorCount, attributes.gpuInstanceSliceCount) == (28, 2)
    assert (attributes.computeInstanceSliceCount, attributes.memorySizeMB) == (2, 9856)
    assert pynvml.nvmlDeviceGetMemoryInfo(mig).total == 9856 * 2**20
    assert pynvml.nvmlDeviceGetMemoryInfo(mig, version=pynvml.nvmlMemory_v2).total == 9856 * 2**20
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)
    assert migtools.address(parent) == migtools.address(device)
    found = pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(mig))
    assert migtools.address(found) == migtools.address(mig)
    assert migtools.fails(pynvml.NVML_ERROR_IN_USE, pynvml.nvmlGpuInstanceDestroy, instance)
    pynvml.nvmlComputeInstanceDestroy(compute)
    assert migtools.mig_devices(device) == {}
    pynvml.nvmlGpuInstanceDestroy(instance)
    assert migtools.all_instances(device) == []


def test_several_compute_instances_share_a_gpu_instance(mig_gpu):
    """Parts of an instance are named 1c..., share its memory and have slices of their own."""
    device = mig_gpu(A100)
    instance = migtools.create(device, 9)
    parts = [pynvml.nvmlGpuInstanceCreateComputeInstance(instance, 0) for _ in range(3)]
    create = pynvml.nvmlGpuInstanceCreateComputeInstance
    assert migtools.fails(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES, create, instance, 0)
    places = [pynvml.nvmlComputeInstanceGetInfo(part) for part in parts]
    assert [(place.id, place.placement.start, place.placement.size) for place in places] == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 2, 1),
    ]
    assert len(migtools.compute_instances(instance, 0)) == 3
    for mig in migtools.mig_devices(device).values():
        assert pynvml.nvmlDeviceGetName(mig) == "NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb"
        assert pynvml.nvmlDeviceGetMemoryInfo(mig).total == 19968 * 2**20
    assert len({pynvml.nvmlDeviceGetUUID(mig) for mig in migtools.mig_devices(device).values()}) == 3
    assert pynvml.nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance, 1) == 0


def test_compute_placement_is_explicit_when_asked(mig_gpu):
    """A compute instance goes where it is told; wrong places and taken ones are told apart."""
    device = mig_gpu(A100)
    instance = migtools.create(device, 0)
    place = pynvml.nvmlGpuInstanceCreateComputeInstanceWithPlacement

    def at(start, size):
        return ctypes.byref(pynvml.c_nvmlComputeInstancePlacement_t(start, size))

    made = place(instance, 1, at(2, 2))
    assert pynvml.nvmlComputeInstanceGetInfo(made).placement.start == 2
    assert migtools.fails(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES, place, instance, 1, at(2, 2))
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, place, instance, 1, at(1, 2))
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, place, instance, 1, at(6, 2))
    assert pynvml.nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance, 4) == 0


def test_mig_indices_have_holes(mig_gpu):
    """An instance keeps its MIG index while it lives: destroying the first leaves a hole, the next fills it."""
    device = mig_gpu(A100)
    made = [migtools.whole(device, 19, 0) for _ in range(3)]
    uuids = {index: pynvml.nvmlDeviceGetUUID(mig) for index, mig in migtools.mig_devices(device).items()}
    pynvml.nvmlComputeInstanceDestroy(made[0][1])
    assert sorted(migtools.mig_devices(device)) == [1, 2]
    assert pynvml.nvmlDeviceGetUUID(migtools.mig_devices(device)[2]) == uuids[2]
    pynvml.nvmlGpuInstanceCreateComputeInstance(made[0][0], 0)
    assert sorted(migtools.mig_devices(device)) == [0, 1, 2]
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, device, 7)


def test_mig_uuids_repeat_on_recreation(mig_gpu):
    """The same place on the same GPU gives the same MIG UUID again, another place another one."""
    device = mig_gpu(A100)
    seen = []
    for start in (0, 0, 1):
        instance, compute = migtools.whole(device, 19, 0, start, 1)
        seen.append(pynvml.nvmlDeviceGetUUID(migtools.mig_devices(device)[0]))
        pynvml.nvmlComputeInstanceDestroy(compute)
        pynvml.nvmlGpuInstanceDestroy(instance)
    assert seen[0] == seen[1] != seen[2]
    assert all(uuid.startswith("MIG-") and uuid[18] == "5" for uuid in seen)


def test_instances_are_found_by_id(mig_gpu):
    """GetGpuInstanceById and GetComputeInstanceById find what lives and nothing else."""
    device = mig_gpu(A100)
    instance, compute = migtools.whole(device, 14, 1)
    found = pynvml.nvmlDeviceGetGpuInstanceById(device, migtools.info(instance)[0])
    assert migtools.address(found) == migtools.address(instance)
    child = pynvml.nvmlGpuInstanceGetComputeInstanceById(instance, 0)
    assert migtools.address(child) == migtools.address(compute)
    missing = pynvml.NVML_ERROR_NOT_FOUND
    assert migtools.fails(missing, pynvml.nvmlDeviceGetGpuInstanceById, device, 99)
    assert migtools.fails(missing, pynvml.nvmlGpuInstanceGetComputeInstanceById, instance, 1)


def test_calls_know_what_kind_of_device_they_take(mig_gpu):
    """MIG management refuses MIG handles, MIG questions refuse GPUs, and neither crashes."""
    device = mig_gpu(A100)
    migtools.whole(device, 14, 1)
    mig = migtools.mig_devices(device)[0]
    invalid = pynvml.NVML_ERROR_INVALID_ARGUMENT
    assert migtools.fails(invalid, pynvml.nvmlDeviceGetMigMode, mig)
    assert migtools.fails(invalid, migtools.create, mig, 19)
    assert migtools.fails(invalid, pynvml.nvmlDeviceGetGpuInstanceId, device)
    assert migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.nvmlDeviceGetMinorNumber, mig)
    assert migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.nvmlDeviceGetAttributes, device)


def test_devices_are_found_by_address(node):
    """Every way to write a PCI address finds its GPU; other text is refused."""
    node("3xA30")
    device = pynvml.nvmlDeviceGetHandleByIndex(2)
    address = pynvml.nvmlDeviceGetPciInfo(device).busId
    for text in (address, address.lower(), address[4:], address[9:], address[9:-2]):
        assert migtools.address(pynvml.nvmlDeviceGetHandleByPciBusId(text)) == migtools.address(device)
    assert migtools.fails(pynvml.NVML_ERROR_NOT_FOUND, pynvml.nvmlDeviceGetHandleByPciBusId, "00000000:FE:00.0")
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.nvmlDeviceGetHandleByPciBusId, "nonsense")
    assert migtools.fails(pynvml.NVML_ERROR_NOT_FOUND, pynvml.nvmlDeviceGetHandleByUUID, "GPU-0")
