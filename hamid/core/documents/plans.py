# SPDX-License-Identifier: Apache-2.0
"""The planner's answer as a JSON document: a plan or a refusal, with the same keys."""

from hamid.core.documents.envelope import Document, envelope
from hamid.core.documents.inventory import placement_keys
from hamid.core.hardware.geometry import sum_counts
from hamid.core.planner.plan import (
    Consideration,
    CreateInstance,
    DestroyInstance,
    GpuPlan,
    Plan,
    PlannedInstance,
    SetMigMode,
    Step,
)
from hamid.core.planner.reasons import Reason
from hamid.core.planner.refusal import PlanRefusal
from hamid.core.planner.refusal_text import hint, message, verdict
from hamid.core.planner.request import Request


def plan_document(outcome: Plan | PlanRefusal) -> Document:
    """A `MigPlan`, feasible or refused; the same keys in both."""
    gpus = outcome.gpus if isinstance(outcome, Plan) else ()
    return {
        **envelope("MigPlan", simulated=outcome.simulated),
        "request": _request(outcome.request),
        "feasible": isinstance(outcome, Plan),
        "gpus": [_gpu_plan(plan) for plan in gpus],
        "remaining": _remaining(gpus),
        "steps": [step_document(step) for step in outcome.steps] if isinstance(outcome, Plan) else [],
        "fingerprint": outcome.fingerprint,
        "warnings": list(outcome.warnings),
        "refusal": {"reasons": [_reason(r) for r in outcome.reasons]} if isinstance(outcome, PlanRefusal) else None,
        "considered": [_consideration(each) for each in outcome.considered],
    }


def _request(request: Request) -> Document:
    return {
        "count": request.count,
        "memoryMiB": None if request.memory is None else request.memory.mib,
        "memoryPercent": None if request.memory is None else request.memory.percent,
        "coresPercent": request.cores_percent,
        "profile": request.profile,
        "policy": request.policy,
        "memoryMatch": request.memory_match,
        "gpuPolicy": request.gpu_policy,
    }


def _gpu_plan(plan: GpuPlan) -> Document:
    template = plan.template
    return {
        "index": plan.gpu.index,
        "uuid": plan.gpu.uuid,
        "name": plan.gpu.name,
        "template": None if template is None else {"index": template.index, "profiles": template.geometry},
        "instances": [planned_document(instance) for instance in plan.instances],
    }


def planned_document(instance: PlannedInstance) -> Document:
    """One instance of a plan as an entry of a list."""
    return {
        "action": instance.action,
        "serves": instance.serves,
        "profile": instance.profile,
        "memoryMiB": instance.memory_mib,
        **placement_keys(instance.placement),
        "migUUID": instance.mig_uuid,
    }


def _remaining(gpus: tuple[GpuPlan, ...]) -> Document:
    rests = [plan.template_rest for plan in gpus if plan.template_rest is not None]
    return {
        "template": sum_counts(rests) if rests else None,
        "creatable": sum_counts(plan.creatable for plan in gpus),
    }


def _reason(reason: Reason) -> Document:
    blockers = [
        {"profile": each.profile, **placement_keys(each.placement), "migUUID": each.mig_uuid}
        for each in reason.blockers
    ]
    return {
        "gpu": reason.gpu,
        "code": reason.code,
        "message": message(reason.facts),
        "hint": hint(reason),
        "blockers": blockers,
    }


def _consideration(each: Consideration) -> Document:
    return {"gpu": each.gpu, "template": each.template, "what": each.what, "code": each.code, "verdict": verdict(each)}


def step_document(step: Step) -> Document:
    """One step as an entry of a list."""
    head: Document = {"step": type(step).__name__, "gpu": step.gpu_index, "gpuUUID": step.gpu_uuid}
    match step:
        case SetMigMode():
            return {**head, "enabled": step.enabled}
        case CreateInstance():
            return {**head, **_stepped(step)}
        case DestroyInstance():  # pragma: no branch: mypy knows that no kind is left
            return {**head, **_stepped(step), "migUUID": step.mig_uuid}


def _stepped(step: CreateInstance | DestroyInstance) -> Document:
    return {"profile": step.profile, "profileId": step.profile_id, **placement_keys(step.placement)}
