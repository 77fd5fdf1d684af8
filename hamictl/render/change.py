# SPDX-License-Identifier: Apache-2.0
"""The text of a change before it is applied: its effect on each GPU, and its steps."""

from collections.abc import Iterable, Sequence

from hamictl.render.axis import Box, draw
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.planner.plan import Action, CreateInstance, DestroyInstance, Plan, PlannedInstance, SetMigMode, Step
from hamid.core.relayout.change import Change, GpuChange

_MARKS = {Action.CREATE: "+", Action.REUSE: "*", Action.KEEP: "=", Action.DESTROY: "-"}
_NOTHING = "Nothing to change: the node already matches."


def plan_as_change(plan: Plan) -> str:
    """The changes that a plan of `mig plan` would make."""
    lines: list[str] = []
    for each in plan.gpus:
        switched = any(isinstance(step, SetMigMode) and step.gpu_index == each.gpu.index for step in plan.steps)
        lines += _gpu_lines(each.gpu, each.axis, mode=True if switched else None, instances=each.instances)
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join([*lines, summary(plan.steps, [i for each in plan.gpus for i in each.instances], 0)]) + "\n"


def change_page(change: Change) -> str:
    """A change to given layouts, with what blocks it."""
    lines: list[str] = []
    for each in change.gpus:
        lines += _gpu_lines(each.gpu, each.axis, mode=each.mode, instances=each.instances)
        lines += _obstacles(each)
    lines += [f"warning: {warning}" for warning in change.warnings]
    blocked = sum(len(each.blocked) + bool(each.problem) for each in change.gpus)
    instances = [instance for each in change.gpus for instance in each.instances]
    return "\n".join([*lines, summary(change.steps, instances, blocked)]) + "\n"


def _gpu_lines(gpu: Gpu, axis: int, *, mode: bool | None, instances: Sequence[PlannedInstance]) -> list[str]:
    lines = [f"{gpu.title}  {gpu.uuid}"]
    if mode is not None:
        lines.append(f"  ~ MIG mode {'off -> on' if mode else 'on -> off'}")
    lines += [_instance_line(instance) for instance in instances]
    if instances:
        boxes = [Box(_MARKS[item.action], item.profile, item.placement) for item in instances]
        lines += ["", *(f"  {line}" for line in draw(axis, boxes))]
    return [*lines, ""]


def _instance_line(item: PlannedInstance) -> str:
    uuid = f"  {item.mig_uuid}" if item.mig_uuid else ""
    return f"  {_MARKS[item.action]} {item.action:<7} {item.profile} at {item.placement}{uuid}{_used_by(item)}"


def _used_by(item: PlannedInstance | Instance) -> str:
    names = [*([f"claim {item.claim}"] if item.claim else []), *map(str, item.holders)]
    return f" (used by {', '.join(names)})" if names else ""


def _obstacles(each: GpuChange) -> list[str]:
    lines = [f"  ! blocked {each.problem}"] if each.problem else []
    for block in each.blocked:
        name = f"{block.instance.profile} at {block.instance.placement}"
        lines.append(f"  ! blocked {name}: {block.why}{_used_by(block.instance)}")
    if each.blocked:
        now = ", ".join(f"{item.profile}@{item.start}" for item in each.reachable) or "none of this"
        lines.append(f"  can be applied now: {now}")
    return [*lines, ""] if lines else []


def summary(steps: Sequence[Step], instances: Iterable[PlannedInstance], blocked: int) -> str:
    """The last line: the number of changes of each kind."""
    created = sum(isinstance(step, CreateInstance) for step in steps)
    destroyed = sum(isinstance(step, DestroyInstance) for step in steps)
    modes = sum(isinstance(step, SetMigMode) for step in steps)
    kept = sum(item.action in {Action.KEEP, Action.REUSE} for item in instances)
    if not steps and not blocked:
        return _NOTHING
    counts = f"{created} to create, {destroyed} to destroy, {kept} kept, {modes} mode changes"
    return f"Plan: {counts}, {blocked} blocked."


def step_text(step: Step) -> str:
    """The text of one step."""
    match step:
        case SetMigMode():
            return f"GPU {step.gpu_index}: switch MIG mode {'on' if step.enabled else 'off'}"
        case DestroyInstance():
            return f"GPU {step.gpu_index}: destroy {step.profile} at {step.placement} ({step.mig_uuid or 'no device'})"
        case CreateInstance():
            return f"GPU {step.gpu_index}: create {step.profile} at {step.placement}"
