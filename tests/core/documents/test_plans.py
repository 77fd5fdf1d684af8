# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.schemas import checked
from support.values import gpu, instance, mig_uuid, profile_of

from hamid.core.documents.plans import plan_document, step_document
from hamid.core.hardware.geometry import Seat
from hamid.core.planner.plan import (
    Action,
    Consideration,
    GpuPlan,
    Plan,
    create,
    destroy,
    planned,
    planned_new,
    switch_mode,
)
from hamid.core.planner.reasons import NotMigCapable, Reason, ReasonCode, TemplateInUse
from hamid.core.planner.refusal import NoInstances, PlanRefusal
from hamid.core.planner.request import make_request
from hamid.core.planner.templates import Template, TemplateSlot
from hamid.core.units import Memory

GPU = gpu()
USED = instance(GPU, "2g.10gb", 0, used=True)
SEAT = Seat(profile_of(GPU, "1g.5gb"), profile_of(GPU, "1g.5gb").placements[6])
SECOND = gpu(index=1, name=None)
TEMPLATE = Template(1, (TemplateSlot("2g.10gb", 3, 10240), TemplateSlot("1g.5gb", 1, 5120)))
REQUEST = make_request(count=2, memory=Memory(mib=4000), cores_percent=10)
PLAN = Plan(
    request=REQUEST,
    gpus=(
        GpuPlan(
            gpu=GPU,
            axis=8,
            template=TEMPLATE,
            instances=(planned(USED, Action.KEEP), planned_new(SEAT, serves=True)),
            template_rest={"2g.10gb": 2, "1g.5gb": 0},
            creatable={"1g.5gb": 4},
        ),
        GpuPlan(gpu=SECOND, axis=8, template=None, instances=(), template_rest=None, creatable={"1g.5gb": 7}),
    ),
    steps=(create(GPU, SEAT),),
    fingerprint="f",
    simulated=True,
    warnings=("w",),
    considered=(
        Consideration(gpu=0, template=0, what="7g.40gb*1", code=ReasonCode.TEMPLATE_IN_USE, verdict="2g.10gb@0 in use"),
        Consideration(gpu=1, template=None, what="GPU 1", code=ReasonCode.NOT_MIG_CAPABLE, verdict=NotMigCapable()),
    ),
)
ASKED = {
    "count": 2,
    "memoryMiB": 4000,
    "memoryPercent": None,
    "coresPercent": 10,
    "profile": None,
    "policy": "template",
    "memoryMatch": "template",
    "gpuPolicy": "binpack",
}
KEPT = {
    "action": "keep",
    "serves": False,
    "profile": "2g.10gb",
    "memoryMiB": USED.memory_mib,
    "start": 0,
    "size": 2,
    "migUUID": mig_uuid(GPU, "2g.10gb", 0),
}
CREATED = {"profile": "1g.5gb", "start": 6, "size": 1}


PLAN_DOCUMENT = {
    "apiVersion": "hami.io/v1",
    "kind": "MigPlan",
    "simulated": True,
    "request": ASKED,
    "feasible": True,
    "gpus": [
        {
            "index": 0,
            "uuid": GPU.uuid,
            "name": GPU.name,
            "template": {"index": 1, "profiles": {"2g.10gb": 3, "1g.5gb": 1}},
            "instances": [
                KEPT,
                {
                    "action": "create",
                    "serves": True,
                    "memoryMiB": SEAT.profile.memory_mib,
                    "migUUID": None,
                    **CREATED,
                },
            ],
        },
        {"index": 1, "uuid": SECOND.uuid, "name": None, "template": None, "instances": []},
    ],
    "remaining": {"template": {"2g.10gb": 2, "1g.5gb": 0}, "creatable": {"1g.5gb": 11}},
    "steps": [
        {"step": "CreateInstance", "gpu": 0, "gpuUUID": GPU.uuid, "profileId": SEAT.profile.profile_id, **CREATED}
    ],
    "fingerprint": "f",
    "warnings": ["w"],
    "refusal": None,
    "considered": [
        {"gpu": 0, "template": 0, "what": "7g.40gb*1", "code": "TemplateInUse", "verdict": "2g.10gb@0 in use"},
        {
            "gpu": 1,
            "template": None,
            "what": "GPU 1",
            "code": "NotMigCapable",
            "verdict": "this GPU has no MIG",
        },
    ],
}


def test_a_plan_is_told_as_a_whole():
    """Request, GPUs with template and instances, what remains, the steps, and everything that was considered."""
    assert checked(plan_document(PLAN)) == PLAN_DOCUMENT


REFUSAL_DOCUMENT = {
    "apiVersion": "hami.io/v1",
    "kind": "MigPlan",
    "simulated": False,
    "request": {
        **ASKED,
        "count": 1,
        "memoryMiB": None,
        "memoryPercent": 10,
        "coresPercent": 0,
        "profile": "1g.5gb+me",
    },
    "feasible": False,
    "gpus": [],
    "remaining": {"template": None, "creatable": {}},
    "steps": [],
    "fingerprint": "f",
    "warnings": [],
    "refusal": {
        "reasons": [
            {
                "gpu": 0,
                "code": "TemplateInUse",
                "message": "2g.10gb@0 in use fix its template; 1 x 4000 MiB would need 3g.20gb*2",
                "hint": "moving 2g.10gb@0 on the same GPU would make room; or wait until they are released, "
                "choose another GPU, or use --policy packed",
                "blockers": [{"profile": "2g.10gb", "start": 0, "size": 2, "migUUID": KEPT["migUUID"]}],
            }
        ]
    },
    "considered": [],
}


def test_a_refusal_has_the_keys_of_a_plan():
    """Nothing is planned, each GPU's reason has a code, a message, a hint and what stands in the way."""
    reason = Reason(
        gpu=0, facts=TemplateInUse("1 x 4000 MiB", (USED,), ({"3g.20gb": 2},)), blockers=(USED,), movable=True
    )
    request = make_request(count=1, profile="1g.5gb+me", memory=Memory(percent=10))
    refusal = PlanRefusal(
        facts=NoInstances("1 x 4000 MiB"), reasons=(reason,), request=request, fingerprint="f", simulated=False
    )
    found = checked(plan_document(refusal))
    assert list(found) == list(plan_document(PLAN))
    assert found == REFUSAL_DOCUMENT


def test_a_request_without_memory_has_none():
    """Neither MiB nor percent is told for a request that names a profile alone."""
    found = plan_document(replace(PLAN, request=make_request(count=1, profile="1g.5gb")))["request"]
    assert (found["memoryMiB"], found["memoryPercent"], found["profile"]) == (None, None, "1g.5gb")


@pytest.mark.parametrize(
    ("step", "more"),
    [
        (switch_mode(GPU, enabled=True), {"step": "SetMigMode", "enabled": True}),
        (
            destroy(GPU, USED),
            {
                "step": "DestroyInstance",
                "profile": "2g.10gb",
                "profileId": USED.profile_id,
                "start": 0,
                "size": 2,
                "migUUID": KEPT["migUUID"],
            },
        ),
    ],
)
def test_each_kind_of_step_has_its_own_keys(step, more):
    """All name the GPU, and instances are told with their place."""
    assert step_document(step) == {"gpu": 0, "gpuUUID": GPU.uuid, **more}
