# SPDX-License-Identifier: Apache-2.0
"""What a GPU can be used for, by its health, its MIG mode, its instances and its clients."""

import pytest

from hamid.core.hardware.gpu import Gpu, Health, Holder, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.planner.eligibility import HasInstances, can_restore, switch_obstacle
from hamid.core.planner.reasons import ClientsRunning, NotMigCapable

CLIENT = Holder(7, "python")
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
    ("state", "enabled", "obstacle"),
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
def test_what_keeps_the_mode(state, enabled, obstacle):
    """MIG mode is switched only on a GPU that has MIG, and never while an instance or a client would suffer."""
    assert switch_obstacle(gpu(**state), enabled=enabled) == obstacle
