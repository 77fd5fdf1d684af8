# SPDX-License-Identifier: Apache-2.0
"""Every board answers exactly its data: read here from the JSON, independently of the C table."""

from __future__ import annotations

import ctypes

import pynvml
import pytest
from support import migtools

from hamid.node.simulation import control

NUMBERS = ("memory_mib", "multiprocessors", "copy_engines", "decoders", "encoders", "jpeg", "ofa")
PRODUCTS = [(board.key, board.name) for board in control.boards()]
KEYS = sorted({key for key, _ in PRODUCTS})


def expected_rows(board):
    """The complete profiles of a board, by enumeration value."""
    return {
        row["nvml_enum_value"]: row
        for row in board["profiles"]
        if all(row.get(name) is not None for name in NUMBERS) and row["placements"]
    }


def as_row(info):
    """What NVML answered, under the data's names."""
    return {
        "name": info.name.removeprefix("MIG "),
        "profile_id": info.id,
        "slices": info.sliceCount,
        "max_instances": info.instanceCount,
        "memory_mib": info.memorySizeMB,
        "multiprocessors": info.multiprocessorCount,
        "copy_engines": info.copyEngineCount,
        "decoders": info.decoderCount,
        "encoders": info.encoderCount,
        "jpeg": info.jpegCount,
        "ofa": info.ofaCount,
        "p2p": bool(info.isP2pSupported),
    }


@pytest.mark.parametrize("key", KEYS)
def test_profiles_are_exactly_the_data(node, board_data, key):
    """Every enumeration value answers its row or NOT_SUPPORTED, beyond the last INVALID_ARGUMENT, with MIG off too."""
    node(f"1x{key}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    expected = expected_rows(board_data[key])
    found = migtools.profiles(device)
    assert set(found) == set(expected)
    for value, info in found.items():
        row = as_row(info)
        assert row == {name: expected[value][name] for name in row}
        by_id = pynvml.nvmlDeviceGetGpuInstanceProfileInfoById(device, info.id)
        assert bytes(by_id) == bytes(info)
        old = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(device, value, version=1)
        assert (old.id, old.memorySizeMB, old.ofaCount) == (info.id, info.memorySizeMB, info.ofaCount)
    for value in (18, 19, 2**32 - 1):
        assert migtools.fails(
            pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.nvmlDeviceGetGpuInstanceProfileInfo, device, value
        )


@pytest.mark.parametrize("key", KEYS)
def test_placements_are_exactly_the_data(mig_gpu, board_data, key):
    """The possible placements of every profile are the data's for every occupied set, and so is the capacity."""
    device = mig_gpu(key)
    rows = expected_rows(board_data[key]).values()
    for row in rows:
        wanted = [(place["start"], place["size"]) for place in row["placements"]]
        assert migtools.placements(device, row["profile_id"]) == wanted
    for row in rows:
        fits = min(len(row["placements"]), row["max_instances"], board_data[key]["compute_slices"] // row["slices"])
        assert pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, row["profile_id"]) == fits
        first = migtools.create(device, row["profile_id"])
        wanted = [(place["start"], place["size"]) for place in row["placements"]]
        assert migtools.placements(device, row["profile_id"]) == wanted
        assert pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, row["profile_id"]) == fits - 1
        pynvml.nvmlGpuInstanceDestroy(first)


@pytest.mark.parametrize("key", KEYS)
def test_profile_ids_of_holes_and_strangers_are_told_apart(mig_gpu, board_data, key):
    """An id of this board with unknown numbers or of another board is NOT_SUPPORTED, an id of no board INVALID."""
    device = mig_gpu(key)
    known = {row["profile_id"] for row in expected_rows(board_data[key]).values()}
    anywhere = {
        row["profile_id"]
        for other in KEYS
        for row in board_data[other]["profiles"]
        if row.get("profile_id") is not None
    }
    for profile_id in anywhere - known:
        assert migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, migtools.create, device, profile_id)
    for profile_id in (999, 2**32 - 1):
        assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, migtools.create, device, profile_id)


@pytest.mark.parametrize(("key", "name"), PRODUCTS)
def test_a_product_has_its_name_address_and_memory(node, board_data, key, name):
    """Name, PCI id and memory are the data's; what the data does not know is NOT_SUPPORTED."""
    node(f"1x{name or key}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    rows = [row for row in board_data[key].get("nvml", []) if row["name"] == name]
    memory = rows[0]["memory_total_mib"] if rows else None
    pci = rows[0]["pci_device_id"] if rows else board_data[key]["pci_device_ids"][0]
    assert pynvml.nvmlDeviceGetPciInfo(device).pciDeviceId == int(pci, 16)
    if name:
        assert pynvml.nvmlDeviceGetName(device) == name
    else:
        assert migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.nvmlDeviceGetName, device)
    if memory is None:
        assert migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.nvmlDeviceGetMemoryInfo, device)
    else:
        assert pynvml.nvmlDeviceGetMemoryInfo(device).total == memory * 2**20


@pytest.mark.parametrize("key", KEYS)
def test_compute_profiles_are_exactly_the_data(mig_gpu, board_data, key):
    """Inside every GPU instance the compute profiles are the data's, in count, slices, placements and room."""
    device = mig_gpu(key)
    for row in expected_rows(board_data[key]).values():
        instance = migtools.create(device, row["profile_id"])
        expected = {each["ci_profile_id"]: each for each in row["compute_instances"]}
        for value in range(pynvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT):
            call = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo
            if value not in expected:
                assert migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, call, instance, value, 0)
                continue
            if migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, call, instance, value, 0):
                continue  # the board's data does not say how many multiprocessors such a part has
            info = call(instance, value, 0)
            wanted = expected[value]
            assert (info.id, info.sliceCount) == (value, wanted["slices"])
            assert info.instanceCount == wanted["max_instances"]
            assert pynvml.nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance, value) == info.instanceCount
            count = ctypes.c_uint()
            pynvml.nvmlGpuInstanceGetComputeInstancePossiblePlacements(instance, value, None, ctypes.byref(count))
            assert count.value == info.instanceCount
        pynvml.nvmlGpuInstanceDestroy(instance)
