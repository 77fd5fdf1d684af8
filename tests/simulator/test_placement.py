# SPDX-License-Identifier: Apache-2.0
"""The driver's own choice of a start, against every real sequence that the reference quotes (2.4)."""

from __future__ import annotations

import pynvml
import pytest
from support import migtools

A100_IDS = {"1g": 19, "2g": 14, "3g": 9, "4g": 5, "7g": 0, "1g+me": 20, "1g-double": 15}

SEQUENCES = [
    ("A100-SXM4-40GB", [19] * 7, [6, 4, 5, 0, 1, 2, 3]),
    ("A100-SXM4-40GB", [19, 19, 14, 9], [6, 4, 0, None]),
    ("A100-SXM4-40GB", [14, 19, 19, 19, 19, 19], [4, 6, 0, 1, 2, 3]),
    ("A100-SXM4-40GB", [9, 19, 14, 19], [4, 0, 2, 1]),
    ("A100-SXM4-40GB", [9, 14, 19, 19], [4, 0, 2, 3]),
    ("A100-SXM4-40GB", [9, 9, 19], [4, 0, None]),
    ("A100-SXM4-40GB", [5, 9], [0, 4]),
    ("A100-SXM4-40GB", [0, 19], [0, None]),
    ("A30", [14, 14, 5], [0, 1, 2]),
    ("H100-80GB-SXM5", [19] * 7, [6, 4, 5, 0, 1, 2, 3]),
    ("RTX-PRO-6000", [14, 14, 5], [0, 3, 6]),
    ("RTX-PRO-6000", [5, 14, 14], [0, 6, 9]),
    ("RTX-PRO-6000", [0, 14], [0, None]),
]

IDS = {
    ("A100-SXM4-40GB", 9): {0: 1, 4: 2},
    ("A100-SXM4-40GB", 14): {0: 3, 2: 4, 4: 5},
    ("A100-SXM4-40GB", 15): {0: 3, 2: 4, 4: 5, 6: 6},
    ("A100-SXM4-40GB", 19): {start: 7 + start for start in range(7)},
    ("A100-SXM4-40GB", 0): {0: 0},
    ("A30", 14): {start: 3 + start for start in range(4)},
    ("A30", 5): {0: 1, 2: 2},
    ("RTX-PRO-6000", 14): {0: 3, 3: 4, 6: 5, 9: 6},
    ("RTX-PRO-6000", 5): {0: 1, 6: 2},
}


@pytest.mark.parametrize(("board", "order", "starts"), SEQUENCES)
def test_default_placement_is_the_drivers(mig_gpu, board, order, starts):
    """Creation without placement gives the starts that hardware gave, or fails where hardware failed."""
    device = mig_gpu(board)
    for profile_id, start in zip(order, starts, strict=True):
        if start is None:
            assert migtools.fails(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES, migtools.create, device, profile_id)
        else:
            assert migtools.info(migtools.create(device, profile_id))[2] == start


@pytest.mark.parametrize(("board", "profile_id"), IDS)
def test_gpu_instance_ids_follow_the_straight_map(mig_gpu, board, profile_id):
    """The id of a GPU instance is the base of its fraction of the axis plus its position."""
    device = mig_gpu(board)
    for start, size in migtools.placements(device, profile_id):
        instance = migtools.create(device, profile_id, start, size)
        assert migtools.info(instance)[0] == IDS[board, profile_id][start]
        pynvml.nvmlGpuInstanceDestroy(instance)


def test_explicit_placement_works_in_every_order(mig_gpu):
    """The layout that the default order 19,19,14,9 cannot reach is reached with placements."""
    device = mig_gpu("A100-SXM4-40GB")
    for profile_id, start, size in ((19, 0, 1), (19, 1, 1), (14, 2, 2), (9, 4, 4)):
        assert migtools.info(migtools.create(device, profile_id, start, size))[2:] == (start, size)


def test_wrong_and_taken_placements_are_told_apart(mig_gpu):
    """A start or size that the profile does not have is INVALID_ARGUMENT, a taken one INSUFFICIENT_RESOURCES."""
    device = mig_gpu("A100-SXM4-40GB")
    migtools.create(device, 14, 0, 2)
    for start, size in ((1, 2), (6, 2), (8, 2), (0, 1), (2**32 - 1, 2), (2, 2**32 - 1)):
        assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, migtools.create, device, 14, start, size)
    assert migtools.fails(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES, migtools.create, device, 14, 0, 2)
    assert migtools.fails(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES, migtools.create, device, 19, 1, 1)


def test_compute_slices_are_a_budget_of_their_own(mig_gpu):
    """Two 3g use six of seven slices and all memory; four 1g with double memory leave three slices and no memory."""
    device = mig_gpu("A100-SXM4-40GB")
    for _ in range(4):
        migtools.create(device, 15)
    for profile_id in A100_IDS.values():
        assert pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, profile_id) == 0


def test_media_engines_exclude_each_other(mig_gpu):
    """On RTX PRO 6000 all media in one instance leaves none for +me and plain ones, but -me goes with it."""
    device = mig_gpu("RTX-PRO-6000")
    everything = migtools.create(device, 65)
    remaining = pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity
    assert [remaining(device, profile_id) for profile_id in (14, 21, 47, 65, 5, 35, 64)] == [0] * 7
    assert (remaining(device, 67), remaining(device, 66)) == (3, 1)
    pynvml.nvmlGpuInstanceDestroy(everything)
    migtools.create(device, 21)
    assert (remaining(device, 65), remaining(device, 21), remaining(device, 14)) == (0, 0, 3)


def test_only_one_instance_has_the_media_extensions(mig_gpu):
    """+me exists once a GPU, beside as many plain instances as fit."""
    device = mig_gpu("A100-SXM4-40GB")
    migtools.create(device, 20)
    assert migtools.fails(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES, migtools.create, device, 20)
    assert pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, 19) == 6
