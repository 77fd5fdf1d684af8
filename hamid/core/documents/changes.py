# SPDX-License-Identifier: Apache-2.0
"""Changes of MIG layouts as JSON documents, before and after they are applied."""

from hamid.core.documents.envelope import Document, envelope
from hamid.core.documents.inventory import instance_document
from hamid.core.documents.plans import planned_document, step_document
from hamid.core.hardware.gpu import Gpu
from hamid.core.planner.plan import Action, GpuPlan, Plan, PlannedInstance, SetMigMode, Step
from hamid.core.relayout.change import Change, GpuChange
from hamid.core.relayout.saved_plan import SavedPlan


def change_document(change: Change | Plan | SavedPlan) -> Document:
    """A `MigChange`: what would change on each GPU, with the steps in order."""
    match change:
        case Change():
            gpus = [_gpu_change(each) for each in change.gpus]
        case Plan():
            gpus = [_changed_by_plan(each, change.steps) for each in change.gpus]
        case SavedPlan():  # pragma: no branch: mypy knows that no kind is left
            gpus = []
    return {
        **envelope("MigChange", simulated=change.simulated),
        "gpus": gpus,
        "steps": [step_document(step) for step in change.steps],
        "blocked": change.blocked if isinstance(change, Change) else False,
        "fingerprint": change.fingerprint,
        "warnings": [] if isinstance(change, SavedPlan) else list(change.warnings),
        "applied": None,
    }


def _gpu_change(each: GpuChange) -> Document:
    blocked = [{"why": block.why, **instance_document(each.gpu, block.instance)} for block in each.blocked]
    return {
        **_changed(each.gpu, mode=each.mode, instances=each.instances),
        "blocked": blocked,
        "problem": each.problem,
        "reachable": [{"profile": item.profile, "start": item.start} for item in each.reachable],
    }


def _changed_by_plan(each: GpuPlan, steps: tuple[Step, ...]) -> Document:
    switched = any(isinstance(step, SetMigMode) and step.gpu_index == each.gpu.index for step in steps)
    stays = [i for i in each.instances if i.action is not Action.DESTROY]
    return {
        **_changed(each.gpu, mode=True if switched else None, instances=each.instances),
        "blocked": [],
        "problem": "",
        "reachable": [{"profile": item.profile, "start": item.placement.start} for item in stays],
    }


def _changed(gpu: Gpu, *, mode: bool | None, instances: tuple[PlannedInstance, ...]) -> Document:
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "mode": mode,
        "instances": [planned_document(instance) for instance in instances],
    }


def outcome_document(
    proposed: Document,
    done: tuple[Step, ...],
    undone: tuple[Step, ...],
    messages: tuple[str, ...],
    claim: str | None,
) -> Document:
    """A `MigChange` after it was applied: `applied` says what was done."""
    applied = {
        "done": [step_document(step) for step in done],
        "undone": [step_document(step) for step in undone],
        "messages": list(messages),
        "claim": claim,
    }
    return {**proposed, "applied": applied}
