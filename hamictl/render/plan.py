# SPDX-License-Identifier: Apache-2.0
"""The text of a plan or a refusal: the axis of each chosen GPU, the steps, what remains, and warnings."""

from hamictl.render.axis import Box, draw
from hamictl.render.change import step_text
from hamid.core.hardware.geometry import format_geometry, sum_counts
from hamid.core.planner.plan import Action, Consideration, GpuPlan, Plan
from hamid.core.planner.refusal import PlanRefusal
from hamid.core.planner.refusal_text import hint, message, verdict

_MARKS = {Action.CREATE: "+", Action.REUSE: "*", Action.KEEP: "=", Action.DESTROY: "-"}
_LEGEND = "+ create   * reuse   = keep   - destroy   . free"


def plan_page(outcome: Plan | PlanRefusal) -> str:
    """The complete text, ending with a newline."""
    lines = [_heading(outcome)]
    if isinstance(outcome, Plan):
        for plan in outcome.gpus:
            lines += ["", *_gpu_lines(plan)]
        lines += ["", f"  {_LEGEND}", "", "Steps:"]
        lines += [f"  {number}. {step_text(step)}" for number, step in enumerate(outcome.steps, 1)] or ["  none"]
        lines += ["", *_rest_lines(outcome)]
    else:
        for reason in outcome.reasons:
            lines += ["", f"GPU {reason.gpu}: {message(reason.facts)} ({reason.code})", f"  hint: {hint(reason)}"]
    if outcome.considered:
        lines += ["", "Considered:", *(_considered_line(each) for each in outcome.considered)]
    lines += [f"warning: {warning}" for warning in outcome.warnings]
    return "\n".join(lines) + "\n"


def _heading(outcome: Plan | PlanRefusal) -> str:
    request = outcome.request
    what = f"{request.wanted}, policy {request.policy}"
    where = " (simulated node)" if outcome.simulated else ""
    if isinstance(outcome, PlanRefusal):
        return f"{what}: cannot fit now{where}"
    serving = [i for plan in outcome.gpus for i in plan.instances if i.serves]
    return f"{what}: {len(serving)} on {len(outcome.gpus)} GPU{'s' if len(outcome.gpus) > 1 else ''}{where}"


def _gpu_lines(plan: GpuPlan) -> list[str]:
    boxes = [Box(_MARKS[item.action], item.profile, item.placement) for item in plan.instances]
    template = f"template {plan.template.index}: {format_geometry(plan.template.geometry)}" if plan.template else ""
    head = f"{plan.gpu.title}  {plan.gpu.uuid}"
    return [head, *([f"  {template}"] if template else []), *(f"  {line}" for line in draw(plan.axis, boxes))]


def _rest_lines(plan: Plan) -> list[str]:
    rests = [each.template_rest for each in plan.gpus if each.template_rest is not None]
    creatable = sum_counts(each.creatable for each in plan.gpus)
    lines = [f"Left in the template: {format_geometry(sum_counts(rests))}"] if rests else []
    return [*lines, f"Still creatable (each alone): {format_geometry(creatable)}"]


def _considered_line(each: Consideration) -> str:
    """One considered option and its verdict; a verdict about the whole GPU omits the GPU's number."""
    what = each.what if each.template is None else f"template {each.template}: {each.what}"
    code = f" ({each.code})" if each.code else ""
    where = "" if each.whole_gpu else f"GPU {each.gpu}, "
    return f"  {where}{what}: {verdict(each)}{code}"
