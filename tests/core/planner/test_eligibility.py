# SPDX-License-Identifier: Apache-2.0
"""What a GPU can be used for, by its health, its MIG mode, its instances and its clients."""

import pytest
from msgspec.structs import replace

from hamid.core.config.config import Mode
from hamid.core.hardware.gpu import Gpu, Health, Holder, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.planner.eligibility import (
    MIG_MODE,
    HasInstances,
    Selection,
    can_restore,
    container_obstacle,
    obstacle,
    switch_obstacle,
)
from hamid.core.planner.reasons import (
    Avoided,
    AwaitsReset,
    ClientsRunning,
    FilteredOut,
    MemoryUnknown,
    MigDisabled,
    ModeLags,
    NotMigCapable,
    NotSelected,
    NotServed,
    OtherModel,
    OtherType,
    OtherUuid,
    Unavailable,
    WrongMode,
)
from hamid.core.planner.request import make_request
from hamid.core.units import Memory
from hamid.testing.boards import gpu_of

CLIENT = Holder(7, "python")
A100 = gpu_of("A100-40GB")
OFF = replace(A100, mig_enabled=False, mig_pending=False)
INSTANCE = Instance(profile="1g.5gb", profile_id=19, memory_mib=4864, placement=Placement(0, 1), gi_id=1)


def gpu(**state):
    return Gpu(index=0, uuid="GPU-0", **{"mig_capable": True, **state})


@pytest.mark.parametrize(
    ("state", "can"),
    [
        ({"mig_enabled": True, "mig_pending": True}, True),
        ({"mig_enabled": True, "mig_pending": True, "clients": (CLIENT,)}, True),
        ({"mig_enabled": True, "mig_pending": False}, True),
        ({}, True),
        ({"mig_capable": False}, False),
        ({"mig_pending": True}, False),
        ({"clients": (CLIENT,)}, False),
        ({"health": Health.LOST, "mig_enabled": True, "mig_pending": True}, False),
        ({"health": Health.UNREADABLE}, False),
    ],
)
def test_where_instances_are_restored(state, can):
    """Instances come back on a GPU that the driver serves, in MIG mode or where nothing keeps the mode from it."""
    assert can_restore(gpu(**state)) is can


@pytest.mark.parametrize(
    ("state", "enabled", "expected"),
    [
        ({"clients": (CLIENT,), "mig_capable": False}, True, NotMigCapable()),
        ({"mig_capable": False}, False, None),
        ({"instances": (INSTANCE,), "clients": (CLIENT,)}, False, HasInstances(1)),
        ({"instances": (INSTANCE,)}, True, None),
        ({"clients": (CLIENT,)}, True, ClientsRunning((CLIENT,))),
        ({"clients": (CLIENT,)}, False, ClientsRunning((CLIENT,))),
        ({}, True, None),
    ],
)
def test_what_keeps_the_mode(state, enabled, expected):
    """MIG mode is switched only on a GPU that has MIG, and never while an instance or a client would suffer."""
    assert switch_obstacle(gpu(**state), enabled=enabled) == expected


def for_container(found=A100, *, mode=Mode.MIG, served=True, problem="", wanted=Mode.MIG, **selection):
    return container_obstacle(found, Selection(mode=wanted, **selection), mode=mode, served=served, problem=problem)


def test_the_planner_knows_the_configurations_name_of_mig():
    """The planner lies below the configuration, and yet both mean the same mode."""
    assert Mode.MIG.value == MIG_MODE


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ({}, None),
        ({"served": False}, FilteredOut()),
        ({"problem": "sick"}, Unavailable("sick")),
        ({"found": replace(A100, health=Health.LOST, note="gone")}, NotServed(Health.LOST, "gone")),
        ({"wanted": Mode.HAMI_CORE}, WrongMode(Mode.MIG, Mode.HAMI_CORE)),
        ({"found": replace(A100, mig_enabled=False, mig_pending=False)}, ModeLags(enabled=False)),
        ({"found": replace(A100, mig_pending=False)}, ModeLags(enabled=False)),
        ({"mode": Mode.HAMI_CORE, "wanted": Mode.MPS}, ModeLags(enabled=True)),
        ({"use_uuids": ("GPU-other",)}, OtherUuid()),
        ({"use_uuids": (A100.uuid,)}, None),
        ({"avoid_uuids": (A100.uuid,)}, Avoided("uuid")),
        ({"use_types": ("H100", "A30")}, OtherType(("H100", "A30"))),
        ({"use_types": ("a100",)}, None),
        ({"avoid_types": ("a100",)}, Avoided("type")),
    ],
)
def test_why_a_gpu_is_out_for_a_container(given, facts):
    """One check says why a GPU may not serve a container: configuration, health, mode, then the pod's own wishes."""
    found = for_container(**given)
    assert (found and found.facts) == facts


@pytest.mark.parametrize(
    ("found", "asked", "facts"),
    [
        (A100, {}, None),
        (replace(A100, index=1), {}, NotSelected()),
        (A100, {"models": ("A30", "H100")}, OtherModel(("A30", "H100"), A100.name)),
        (A100, {"models": ("a100",)}, None),
        (replace(A100, name=None), {"models": ("A100",)}, OtherModel(("A100",), None)),
        (replace(A100, health=Health.LOST, note="gone"), {}, NotServed(Health.LOST, "gone")),
        (replace(A100, mig_capable=False), {}, NotMigCapable()),
        (replace(A100, mig_pending=False), {}, AwaitsReset(enabled=False)),
        (replace(A100, memory_mib=None), {"memory": Memory(percent=10)}, MemoryUnknown()),
        (replace(A100, memory_mib=None), {}, None),
        (OFF, {}, None),
        (OFF, {"enable_mig": False}, MigDisabled()),
        (replace(OFF, clients=(CLIENT,)), {}, ClientsRunning((CLIENT,))),
        (replace(A100, clients=(CLIENT,)), {"enable_mig": False}, None),
    ],
)
def test_why_a_gpu_is_out_for_an_operator(found, asked, facts):
    """Selectors and models come first, then what the GPU's state rules out for every request."""
    request = make_request(**{"count": 1, "memory": Memory(mib=1), **asked})
    reason = obstacle(found, request, frozenset({0}))
    assert (reason and (reason.gpu, reason.facts)) == (facts and (found.index, facts))
