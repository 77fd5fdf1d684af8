# SPDX-License-Identifier: Apache-2.0
from msgspec.structs import replace
from support.schemas import checked
from support.values import gpu, instance, mig_uuid, profile_of

from hamid.core.documents.changes import change_document, outcome_document
from hamid.core.documents.inventory import instance_document
from hamid.core.hardware.geometry import Seat, parse_layout
from hamid.core.hardware.gpu import Holder
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.plan import Action, GpuPlan, Plan, create, destroy, planned, planned_new, switch_mode
from hamid.core.planner.request import make_request
from hamid.core.relayout.change import GpuTarget, plan_change
from hamid.core.relayout.saved_plan import SavedPlan

FIRST = gpu(("1g.5gb", 0))
BLOCKER = instance(gpu(index=1), "2g.10gb", 0, used=True, holders=(Holder(7, "job"),))
SECOND = replace(gpu(index=1), instances=(BLOCKER,))
THIRD = gpu(index=2, mig_capable=False, mig=False)
SEAT = Seat(profile_of(FIRST, "3g.20gb"), profile_of(FIRST, "3g.20gb").placements[1])


def head(gpu_of_row, **more):
    return {"index": gpu_of_row.index, "uuid": gpu_of_row.uuid, "name": gpu_of_row.name, **more}


def planned_row(action, profile, memory_mib, start, size, uuid, *, serves=False):
    return {
        "action": action,
        "serves": serves,
        "profile": profile,
        "memoryMiB": memory_mib,
        "start": start,
        "size": size,
        "migUUID": uuid,
    }


DESTROYED = planned_row("destroy", "1g.5gb", FIRST.instances[0].memory_mib, 0, 1, mig_uuid(FIRST, "1g.5gb", 0))
CREATED = planned_row("create", "3g.20gb", SEAT.profile.memory_mib, 4, 4, None)
STEPS = [
    {
        "step": "DestroyInstance",
        "gpu": 0,
        "gpuUUID": FIRST.uuid,
        "profile": "1g.5gb",
        "profileId": FIRST.instances[0].profile_id,
        "start": 0,
        "size": 1,
        "migUUID": DESTROYED["migUUID"],
    },
    {
        "step": "CreateInstance",
        "gpu": 0,
        "gpuUUID": FIRST.uuid,
        "profile": "3g.20gb",
        "profileId": SEAT.profile.profile_id,
        "start": 4,
        "size": 4,
    },
]


SNAPSHOT = Snapshot(gpus=(FIRST, SECOND, THIRD), simulated=True)
CHANGE = plan_change(
    SNAPSHOT,
    [
        GpuTarget(gpu_index=0, layout=parse_layout("3g.20gb@4")),
        GpuTarget(gpu_index=1, layout=parse_layout("3g.20gb@0")),
        GpuTarget(gpu_index=2, mig_enabled=True),
    ],
)


CHANGE_DOCUMENT = {
    "apiVersion": "hami.io/v1",
    "kind": "MigChange",
    "simulated": True,
    "gpus": [
        head(
            FIRST,
            mode=None,
            instances=[DESTROYED, CREATED],
            blocked=[],
            problem="",
            reachable=[{"profile": "3g.20gb", "start": 4}],
        ),
        head(
            SECOND,
            mode=None,
            instances=[],
            blocked=[
                {"why": "in use, in the way of 3g.20gb@0", **instance_document(SECOND, BLOCKER)},
            ],
            problem="",
            reachable=[],
        ),
        head(
            THIRD,
            mode=None,
            instances=[],
            blocked=[],
            problem=f"{THIRD.title} has no MIG",
            reachable=[],
        ),
    ],
    "steps": STEPS,
    "blocked": True,
    "fingerprint": SNAPSHOT.fingerprint(),
    "warnings": [],
    "applied": None,
}


def test_a_change_is_told_gpu_by_gpu():
    """One GPU changes, one is blocked by an instance in use, one cannot be changed at all."""
    found = checked(change_document(CHANGE))
    assert found == CHANGE_DOCUMENT


PLAN = Plan(
    request=make_request(count=1, profile="3g.20gb"),
    gpus=(
        GpuPlan(
            gpu=FIRST,
            axis=8,
            template=None,
            instances=(planned(FIRST.instances[0], Action.DESTROY), planned_new(SEAT, serves=True)),
            template_rest=None,
            creatable={},
        ),
    ),
    steps=(switch_mode(FIRST, enabled=True), destroy(FIRST, FIRST.instances[0]), create(FIRST, SEAT)),
    fingerprint="f",
    simulated=False,
    warnings=("w",),
)
MODE_STEP = {"step": "SetMigMode", "gpu": 0, "gpuUUID": FIRST.uuid, "enabled": True}


def test_a_plan_is_told_as_the_change_that_it_makes():
    """What is not destroyed will be there, and the new mode is told of the GPU whose mode is switched."""
    assert checked(change_document(PLAN)) == {
        "apiVersion": "hami.io/v1",
        "kind": "MigChange",
        "simulated": False,
        "gpus": [
            head(
                FIRST,
                mode=True,
                instances=[DESTROYED, {**CREATED, "serves": True}],
                blocked=[],
                problem="",
                reachable=[{"profile": "3g.20gb", "start": 4}],
            )
        ],
        "steps": [MODE_STEP, *STEPS],
        "blocked": False,
        "fingerprint": "f",
        "warnings": ["w"],
        "applied": None,
    }
    other = replace(PLAN, steps=(switch_mode(SECOND, enabled=True),))
    assert change_document(other)["gpus"][0]["mode"] is None


def test_a_saved_plan_is_told_by_its_steps_alone():
    """The file has no GPUs and no warnings."""
    saved = SavedPlan(simulated=True, fingerprint="f", claim=None, claim_instances=(), steps=PLAN.steps)
    assert checked(change_document(saved)) == {
        "apiVersion": "hami.io/v1",
        "kind": "MigChange",
        "simulated": True,
        "gpus": [],
        "steps": [MODE_STEP, *STEPS],
        "blocked": False,
        "fingerprint": "f",
        "warnings": [],
        "applied": None,
    }


def test_an_outcome_is_the_change_with_what_was_done():
    """Everything that was proposed stays, and `applied` has the steps that were done and those taken back."""
    proposed = change_document(PLAN)
    found = outcome_document(proposed, PLAN.steps[:2], PLAN.steps[:1], ("m",), "claim1")
    applied = {"done": [MODE_STEP, STEPS[0]], "undone": [MODE_STEP], "messages": ["m"], "claim": "claim1"}
    assert checked(found) == {**checked(proposed), "applied": applied}
    assert proposed["applied"] is None
