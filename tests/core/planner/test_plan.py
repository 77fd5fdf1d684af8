# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest
from support.values import gpu, profile_of

from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import (
    CreateInstance,
    DestroyInstance,
    SetMigMode,
    Step,
    create,
    destroy,
    recreate,
    switch_mode,
)

GPU = gpu(("2g.10gb", 2), index=3)
(MADE,) = GPU.instances
CREATED = CreateInstance(
    gpu_uuid=GPU.uuid,
    gpu_index=3,
    profile="2g.10gb",
    profile_id=MADE.profile_id,
    placement=Placement(2, 2),
)
DESTROYED = DestroyInstance(
    gpu_uuid=GPU.uuid,
    gpu_index=3,
    profile="2g.10gb",
    profile_id=MADE.profile_id,
    placement=Placement(2, 2),
    mig_uuid=MADE.mig_uuid,
)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (switch_mode(GPU, enabled=False), SetMigMode(gpu_uuid=GPU.uuid, gpu_index=3, enabled=False)),
        (create(GPU, Seat(profile_of(GPU, "2g.10gb"), Placement(2, 2))), CREATED),
        (recreate(GPU, MADE), CREATED),
        (destroy(GPU, MADE), DESTROYED),
    ],
)
def test_a_step_says_exactly_what_it_does(step, expected):
    """It names its GPU and place, and survives the way through the journal's JSON with its kind."""
    assert step == expected
    assert msgspec.json.decode(msgspec.json.encode(step), type=Step) == step
