# SPDX-License-Identifier: Apache-2.0
"""hamictl mig: the commands that change layouts. Each one plans, asks for confirmation and applies."""

import os
from collections.abc import Callable
from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import replace

from hamictl import node_access
from hamictl.options import Gpus, verb
from hamictl.proposal import Proposal, RunOptions, carry_out, propose_change, propose_plan, propose_saved
from hamictl.render.plan import plan_page
from hamictl.request_options import RequestOptions
from hamictl.session import Output, Session
from hamid.core.claims.claim import operator_name
from hamid.core.documents.changes import change_document
from hamid.core.documents.plans import plan_document
from hamid.core.errors import UsageError
from hamid.core.exits import Exit
from hamid.core.hardware.geometry import LayoutItem, parse_layout
from hamid.core.hardware.snapshot import Snapshot, select_gpus
from hamid.core.planner.decide import decide
from hamid.core.planner.refusal import Refusal
from hamid.core.planner.template_check import fit_table
from hamid.core.relayout import mig_parted
from hamid.core.relayout.change import Change, GpuTarget, differs, plan_change
from hamid.core.relayout.saved_plan import decode_plan

ConfigFile = Annotated[
    str | None, typer.Option("--file", "-f", metavar="FILE", help="Layout file in mig-parted's format (version: v1).")
]
ConfigName = Annotated[
    str | None, typer.Option("--config", "-c", metavar="NAME", help="Name of a configuration in the file.")
]


class TargetOptions(Struct, kw_only=True):
    """The wanted layouts, in one of several forms."""

    layout: Annotated[
        list[str] | None,
        typer.Option(metavar="GPU=LAYOUT", help="Layout of a GPU, such as 0=3g.20gb@4,1g.5gb*2. Repeatable."),
    ] = None
    template: Annotated[
        int | None, typer.Option(metavar="INDEX", help="Number of a template, as shown by 'mig templates'.")
    ] = None
    file: ConfigFile = None
    config: ConfigName = None
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name for the claim that --mem creates (default: generated).")
    ] = None


def register(app: typer.Typer) -> None:
    """Add these commands to `hamictl mig`."""
    for name, command in _COMMANDS.items():
        verb(app, name)(command)
    verb(app, "export", more_forms=frozenset({Output.MIG_PARTED}))(export)


def apply(
    session: Session,
    wanted: RequestOptions,
    target: TargetOptions,
    run: RunOptions,
    plan: Annotated[str | None, typer.Argument(metavar="[PLAN]", help="Plan file saved with --out.")] = None,
) -> int:
    """Change MIG layouts. Instances in use are never touched.

    \b
    Examples:
      hamictl mig apply --mem 8000 --count 2 --name training
      hamictl mig apply --layout '0=3g.20gb@4,1g.5gb*2'
      hamictl mig apply --template 1 -i 0
      hamictl mig apply -f mig-parted.yaml -c all-balanced --dry-run
      hamictl mig apply --mem 8000 --out plan.json && hamictl mig apply plan.json --yes

    \b
    --mem and --profile create a claim that holds the instances until 'mig release'; other forms leave them idle.
    Exit codes: 7 if an instance in use is in the way or the plan is stale, 8 if the request cannot fit.
    """
    forms = {
        "PLAN": plan,
        "--mem or --profile": wanted.mem or wanted.profile,
        "--layout": target.layout,
        "--template": target.template,
        "--file": target.file,
    }
    given = [name for name, value in forms.items() if value is not None]
    if len(given) != 1:
        raise UsageError(
            f"{' and '.join(given)} cannot be combined" if given else "no layout specified",
            f"specify one of {', '.join(forms)}",
        )
    _check_read(given[0], wanted, target)
    if plan is not None:
        return carry_out(session, propose_saved(decode_plan(node_access.read_file(plan), plan)), run)
    if wanted.mem or wanted.profile:
        return _apply_request(session, wanted, target.name, run)
    return carry_out(session, _towards(session, wanted, target), run)


def _check_read(form: str, wanted: RequestOptions, target: TargetOptions) -> None:
    """Refuse options that this form ignores: with `-f FILE -i 0`, a user would expect -i to limit the file."""
    usual = RequestOptions()
    given = [field for field in usual.__struct_fields__ if getattr(wanted, field) not in (getattr(usual, field), [])]
    read = {"--mem or --profile": {*given, "name"}, "--template": {"gpu"}, "--file": {"config"}}.get(form, set())
    given += [field for field in ("name", "config") if getattr(target, field) is not None]
    unread = [f"--{field.replace('_', '-')}" for field in given if field not in read]
    if unread:
        raise UsageError(f"{', '.join(unread)} cannot be used with {form}", "see: hamictl mig apply --help")


def _apply_request(session: Session, wanted: RequestOptions, name: str | None, run: RunOptions) -> int:
    claim = f"operator-{os.urandom(3).hex()}" if name is None else operator_name(name)
    snapshot = session.snapshot()
    fitted = fit_table(node_access.templates(session.node, None), snapshot.gpus)
    outcome = decide(wanted.request(), snapshot, fitted.table, warnings=fitted.warnings)
    if isinstance(outcome, Refusal):
        session.emit(plan_document(outcome), lambda: plan_page(outcome))
        return Exit.NO_FIT
    return carry_out(session, propose_plan(outcome, claim), run)


def _towards(session: Session, wanted: RequestOptions, target: TargetOptions) -> Proposal:
    snapshot = session.snapshot()
    if target.file is not None:
        return propose_change(_file_change(snapshot, target.file, target.config))
    if target.layout is not None:
        return propose_change(plan_change(snapshot, [_layout_target(snapshot, text) for text in target.layout]))
    return propose_change(plan_change(snapshot, _template_targets(session, snapshot, wanted, target.template or 0)))


def _file_change(snapshot: Snapshot, path: str, name: str | None) -> Change:
    configs = mig_parted.parse_configs(node_access.read_marked(path), path)
    specs = mig_parted.choose(configs, name, path)
    change = plan_change(snapshot, mig_parted.targets(specs, snapshot))
    return replace(change, warnings=(*change.warnings, *mig_parted.unmatched(specs, snapshot)))


def _layout_target(snapshot: Snapshot, text: str) -> GpuTarget:
    selector, separator, layout = text.partition("=")
    if not separator:
        raise UsageError(f"--layout '{text}' names no GPU", "write GPU=LAYOUT, such as 0=3g.20gb@4,1g.5gb*2")
    (gpu,) = select_gpus(snapshot, (selector,))
    items = parse_layout(layout) if layout else ()
    return GpuTarget(gpu_index=gpu.index, mig_enabled=None if gpu.mig_enabled else True, layout=items)


def _template_targets(session: Session, snapshot: Snapshot, wanted: RequestOptions, index: int) -> list[GpuTarget]:
    if not wanted.gpu:
        raise UsageError("missing -i GPU: --template needs at least one GPU", "add -i GPU; repeat it for several")
    table = fit_table(node_access.templates(session.node, None), snapshot.gpus).table
    targets = []
    for gpu in select_gpus(snapshot, tuple(wanted.gpu)):
        entry = table.lookup(gpu.name)
        templates = {template.index: template for template in (entry.templates if entry else ())}
        if index not in templates:
            legal = ", ".join(str(each) for each in templates) or "none"
            raise UsageError(f"{gpu.title} has no template {index}", f"it has: {legal}; see: hamictl mig templates")
        slots = templates[index].slots
        items = tuple(LayoutItem(slot.name) for slot in slots for _ in range(slot.count))
        targets.append(GpuTarget(gpu_index=gpu.index, mig_enabled=True, layout=items))
    return targets


def clear(session: Session, run: RunOptions, gpu: Gpus = None) -> int:
    """Destroy all instances of a GPU; refuse if one is in use.

    \b
    Examples:
      hamictl mig clear -i 0
      hamictl mig clear -i 0 -i 1 --yes
    """
    return _each_gpu(session, run, gpu, mig_enabled=None, layout=())


def enable(session: Session, run: RunOptions, gpu: Gpus = None) -> int:
    """Switch MIG mode on; refuse if the GPU has clients.

    \b
    Examples:
      hamictl mig enable -i 0
    """
    return _each_gpu(session, run, gpu, mig_enabled=True, layout=None)


def disable(session: Session, run: RunOptions, gpu: Gpus = None) -> int:
    """Destroy all instances and switch MIG mode off. Refuse if one is in use.

    \b
    Examples:
      hamictl mig disable -i 0 --dry-run
    """
    return _each_gpu(session, run, gpu, mig_enabled=False, layout=())


def _each_gpu(
    session: Session,
    run: RunOptions,
    gpus: list[str] | None,
    *,
    mig_enabled: bool | None,
    layout: tuple[LayoutItem, ...] | None,
) -> int:
    if not gpus:
        raise UsageError("missing -i GPU", "add -i GPU; repeat it for several")
    snapshot = session.snapshot()
    targets = [
        GpuTarget(gpu_index=gpu.index, mig_enabled=mig_enabled, layout=layout)
        for gpu in select_gpus(snapshot, tuple(gpus))
    ]
    return carry_out(session, propose_change(plan_change(snapshot, targets)), run)


def check(session: Session, file: ConfigFile = None, config: ConfigName = None) -> int:
    """Compare the node with a mig-parted file.

    \b
    Examples:
      hamictl mig check -f mig-parted.yaml -c all-balanced

    \b
    Exit codes: 0 if they match, 3 if they differ.
    """
    if file is None:
        raise UsageError("missing -f FILE", "name a file in mig-parted's format with -f FILE")
    change = _file_change(session.snapshot(), file, config)
    proposal = propose_change(change)
    session.emit(change_document(change), lambda: proposal.page)
    return Exit.PENDING if differs(change) else Exit.OK


def export(session: Session) -> None:
    """Print the layout as a mig-parted file. 'mig apply -f' reads it.

    \b
    Examples:
      hamictl mig export > layout.yaml            # counts, for mig-parted and hamictl
      hamictl mig export -o yaml > layout.yaml    # with placements, for hamictl only
    """
    placements = session.output in {Output.YAML, Output.JSON}
    document = mig_parted.export(session.snapshot(), placements=placements)
    form = "json" if session.output is Output.JSON else "yaml"
    session.write(document, form)


_COMMANDS: dict[str, Callable[..., int | None]] = {
    "apply": apply,
    "clear": clear,
    "enable": enable,
    "disable": disable,
    "check": check,
}
