# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace

from hamid.core.config.config import Mode
from hamid.core.hardware.gpu import Health
from hamid.core.planner.eligibility import MIG_MODE, Selection, container_obstacle
from hamid.core.planner.reasons import (
    Avoided,
    FilteredOut,
    ModeLags,
    NotServed,
    OtherType,
    OtherUuid,
    Unavailable,
    WrongMode,
)
from hamid.testing.boards import gpu_of

GPU = gpu_of("A100-40GB")


def obstacle(gpu=GPU, *, mode=Mode.MIG, served=True, problem="", wanted=Mode.MIG, **selection):
    return container_obstacle(gpu, Selection(mode=wanted, **selection), mode=mode, served=served, problem=problem)


def test_the_planner_knows_the_configurations_name_of_mig():
    """The planner lies below the configuration, and yet both mean the same mode."""
    assert Mode.MIG.value == MIG_MODE


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ({}, None),
        ({"served": False}, FilteredOut()),
        ({"problem": "sick"}, Unavailable("sick")),
        ({"gpu": replace(GPU, health=Health.LOST, note="gone")}, NotServed(Health.LOST, "gone")),
        ({"wanted": Mode.HAMI_CORE}, WrongMode(Mode.MIG, Mode.HAMI_CORE)),
        ({"gpu": replace(GPU, mig_enabled=False, mig_pending=False)}, ModeLags(enabled=False)),
        ({"gpu": replace(GPU, mig_pending=False)}, ModeLags(enabled=False)),
        ({"mode": Mode.HAMI_CORE, "wanted": Mode.MPS}, ModeLags(enabled=True)),
        ({"use_uuids": ("GPU-other",)}, OtherUuid()),
        ({"use_uuids": (GPU.uuid,)}, None),
        ({"avoid_uuids": (GPU.uuid,)}, Avoided("uuid")),
        ({"use_types": ("H100", "A30")}, OtherType(("H100", "A30"))),
        ({"use_types": ("a100",)}, None),
        ({"avoid_types": ("a100",)}, Avoided("type")),
    ],
)
def test_why_a_gpu_is_out_for_a_container(given, facts):
    """One check says why a GPU may not serve a container: configuration, health, mode, then the pod's own wishes."""
    found = obstacle(**given)
    assert (found and found.facts) == facts
