# SPDX-License-Identifier: Apache-2.0
"""Values as JSON documents: `apiVersion: hami.io/v1`, `kind`, camelCase keys. The schemas are in docs/json/.

A document is a contract: keys are added, never renamed or dropped within v1.
"""

from collections.abc import Mapping
from typing import Any

from hamid.core.errors import HamiError
from hamid.core.hardware.geometry import sum_counts
from hamid.core.hardware.gpu import Gpu, Holder, Instance
from hamid.core.hardware.profile import Placement, Profile
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.plan import Action, Consideration, GpuPlan, Plan, PlannedInstance
from hamid.core.planner.reasons import Reason
from hamid.core.planner.refusal import PlanRefusal
from hamid.core.planner.refusal_text import hint, message, verdict
from hamid.core.planner.request import Request
from hamid.core.planner.steps import CreateInstance, DestroyInstance, SetMigMode, Step
from hamid.core.planner.templates import TemplateTable
from hamid.core.relayout.change import Change, GpuChange
from hamid.core.relayout.saved_plan import SavedPlan
from hamid.core.version import API_VERSION

Document = dict[str, Any]


def envelope(kind: str, *, simulated: bool | None = None) -> Document:
    """The first keys of every document."""
    head: Document = {"apiVersion": API_VERSION, "kind": kind}
    if simulated is not None:
        head["simulated"] = simulated
    return head


def plan_document(outcome: Plan | PlanRefusal) -> Document:
    """A `MigPlan`, feasible or refused; the same keys in both."""
    gpus = outcome.gpus if isinstance(outcome, Plan) else ()
    return {
        **envelope("MigPlan", simulated=outcome.simulated),
        "request": _request(outcome.request),
        "feasible": isinstance(outcome, Plan),
        "gpus": [_gpu_plan(plan) for plan in gpus],
        "remaining": _remaining(gpus),
        "steps": [_step(step) for step in outcome.steps] if isinstance(outcome, Plan) else [],
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
        "instances": [_planned(instance) for instance in plan.instances],
    }


def _planned(instance: PlannedInstance) -> Document:
    return {
        "action": instance.action,
        "serves": instance.serves,
        "profile": instance.profile,
        "memoryMiB": instance.memory_mib,
        **_placement(instance.placement),
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
        {"profile": each.profile, **_placement(each.placement), "migUUID": each.mig_uuid} for each in reason.blockers
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


def _step(step: Step) -> Document:
    head: Document = {"step": type(step).__name__, "gpu": step.gpu_index, "gpuUUID": step.gpu_uuid}
    match step:
        case SetMigMode():
            return {**head, "enabled": step.enabled}
        case CreateInstance():
            return {**head, **_stepped(step)}
        case DestroyInstance():
            return {**head, **_stepped(step), "migUUID": step.mig_uuid}


def _stepped(step: CreateInstance | DestroyInstance) -> Document:
    return {"profile": step.profile, "profileId": step.profile_id, **_placement(step.placement)}


def _placement(placement: Placement) -> Document:
    return {"start": placement.start, "size": placement.size}


def change_document(change: Change | Plan | SavedPlan) -> Document:
    """A `MigChange`: what would change on each GPU, with the steps in order."""
    match change:
        case Change():
            gpus = [_gpu_change(each) for each in change.gpus]
        case Plan():
            gpus = [_changed_by_plan(each, change.steps) for each in change.gpus]
        case SavedPlan():
            gpus = []
    return {
        **envelope("MigChange", simulated=change.simulated),
        "gpus": gpus,
        "steps": [_step(step) for step in change.steps],
        "blocked": change.blocked if isinstance(change, Change) else False,
        "fingerprint": change.fingerprint,
        "warnings": [] if isinstance(change, SavedPlan) else list(change.warnings),
        "applied": None,
    }


def _gpu_change(each: GpuChange) -> Document:
    blocked = [{"why": block.why, **_instance(each.gpu, block.instance)} for block in each.blocked]
    return {
        **_changed(each.gpu, each.mode, each.instances),
        "blocked": blocked,
        "problem": each.problem,
        "reachable": [{"profile": item.profile, "start": item.start} for item in each.reachable],
    }


def _changed_by_plan(each: GpuPlan, steps: tuple[Step, ...]) -> Document:
    switched = any(isinstance(step, SetMigMode) and step.gpu_index == each.gpu.index for step in steps)
    stays = [i for i in each.instances if i.action is not Action.DESTROY]
    return {
        **_changed(each.gpu, True if switched else None, each.instances),
        "blocked": [],
        "problem": "",
        "reachable": [{"profile": item.profile, "start": item.placement.start} for item in stays],
    }


def _changed(gpu: Gpu, mode: bool | None, instances: tuple[PlannedInstance, ...]) -> Document:  # noqa: FBT001
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "mode": mode,
        "instances": [_planned(instance) for instance in instances],
    }


def outcome_document(
    proposed: Document,
    done: tuple[Step, ...],
    undone: tuple[Step, ...],
    messages: tuple[str, ...],
    claim: str | None,
) -> Document:
    """A `MigChange` after it was carried out: `applied` says what was done."""
    applied = {
        "done": [_step(step) for step in done],
        "undone": [_step(step) for step in undone],
        "messages": list(messages),
        "claim": claim,
    }
    return {**proposed, "applied": applied}


def instances_document(snapshot: Snapshot, gpus: tuple[Gpu, ...]) -> Document:
    """A `MigInstanceList` of these GPUs."""
    rows = [_instance(gpu, instance) for gpu in gpus for instance in gpu.instances]
    return {**envelope("MigInstanceList", simulated=snapshot.simulated), "instances": rows}


def _instance(gpu: Gpu, instance: Instance) -> Document:
    return {
        "gpu": gpu.index,
        "gpuUUID": gpu.uuid,
        "index": instance.mig_index,
        "profile": instance.profile,
        "profileId": instance.profile_id,
        "memoryMiB": instance.memory_mib,
        **_placement(instance.placement),
        "giId": instance.gi_id,
        "ciId": instance.ci_id,
        "computeInstances": instance.compute_instances,
        "migUUID": instance.mig_uuid,
        "used": instance.used,
        "claim": instance.claim or None,
        "holders": _holders(instance.holders),
    }


def _holders(holders: tuple[Holder, ...]) -> list[Document]:
    return [{"pid": h.pid, "name": h.name, "memoryMiB": h.memory_mib} for h in holders]


def gpus_document(snapshot: Snapshot, gpus: tuple[Gpu, ...]) -> Document:
    """A `GpuList` of these GPUs."""
    head = envelope("GpuList", simulated=snapshot.simulated)
    return {**head, "driverVersion": snapshot.driver_version, "gpus": [gpu_document(gpu) for gpu in gpus]}


def gpu_document(gpu: Gpu) -> Document:
    """One GPU as an entry of a list."""
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "minor": gpu.minor,
        "pciBusId": gpu.pci_bus_id,
        "memoryMiB": gpu.memory_mib,
        "health": gpu.health,
        "note": gpu.note,
        "mig": {"capable": gpu.mig_capable, "enabled": gpu.mig_enabled, "pending": gpu.mig_pending},
        "instances": [_instance(gpu, instance) for instance in gpu.instances],
        "clients": _holders(gpu.clients),
    }


def profiles_document(snapshot: Snapshot, gpus: tuple[Gpu, ...]) -> Document:
    """A `MigProfileList`: what each GPU's driver offers, smallest first."""
    rows = [
        {"gpu": gpu.index, "gpuUUID": gpu.uuid, **_profile(p)}
        for gpu in gpus
        for p in sorted(gpu.profiles, key=lambda p: p.order)
    ]
    return {**envelope("MigProfileList", simulated=snapshot.simulated), "profiles": rows}


def _profile(profile: Profile) -> Document:
    return {
        "name": profile.name,
        "profileId": profile.profile_id,
        "memoryMiB": profile.memory_mib,
        "computeSlices": profile.compute_slices,
        "multiprocessors": profile.multiprocessors,
        "copyEngines": profile.copy_engines,
        "decoders": profile.engines.decoders,
        "encoders": profile.engines.encoders,
        "jpeg": profile.engines.jpeg,
        "ofa": profile.engines.ofa,
        "maxInstances": profile.max_instances,
        "placements": [_placement(place) for place in profile.placements],
    }


def templates_document(table: TemplateTable, gpus: tuple[Gpu, ...]) -> Document:
    """A `MigTemplateList`: the table's entries, with the GPUs of this node that each is for."""
    found = {gpu.index: table.lookup(gpu.name) for gpu in gpus}
    rows = [
        {
            "models": list(entry.models),
            "gpus": [index for index, match in found.items() if match is entry],
            "templates": [{"index": t.index, "profiles": t.geometry} for t in entry.templates],
        }
        for entry in table.entries
    ]
    return {**envelope("MigTemplateList"), "source": table.source, "models": rows}


def error_document(error: HamiError) -> Document:
    """An `Error`: `code` is the class name of the error tree, `notes` tell what happened besides."""
    return {
        **envelope("Error"),
        "code": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "notes": list(getattr(error, "__notes__", ())),
    }


def version_document(fields: Mapping[str, str | None]) -> Document:
    """A `Version`: of hamictl, and of the driver where there is one."""
    return {**envelope("Version"), **fields}
