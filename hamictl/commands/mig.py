# SPDX-License-Identifier: Apache-2.0
"""hamictl mig: profiles, instances, templates, and the plan for a request."""

from typing import Annotated

import typer

from hamictl.exits import Exit
from hamictl.options import Gpus, noun, verb
from hamictl.render import inventory
from hamictl.render.plan import plan_page
from hamictl.session import Session
from hamid.core.document import instances_document, plan_document, profiles_document, templates_document
from hamid.core.plan import Plan
from hamid.core.request import GpuPolicy, MemoryMatch, Policy, make_request
from hamid.core.snapshot import select_gpus
from hamid.core.template_fit import fit_table

Templates = Annotated[
    str | None,
    typer.Option("--templates", metavar="FILE", help="Templates as in HAMi's device-config.yaml (knownMigGeometries)."),
]

app = noun("mig", "Inspect MIG and plan layouts; nothing here changes the node.")


@verb(app, "profiles")
def list_profiles(session: Session, gpu: Gpus = None) -> None:
    """List the MIG profiles that each GPU's driver offers, with their placements.

    \b
    Examples:
      hamictl mig profiles
      hamictl mig profiles -i 0 -o json
    """
    snapshot = session.node.snapshot()
    gpus = select_gpus(snapshot, tuple(gpu or ()))

    session.emit(profiles_document(snapshot, gpus), lambda: inventory.profile_table(gpus, wide=session.wide))


@verb(app, "list")
def list_instances(session: Session, gpu: Gpus = None) -> None:
    """List the MIG instances that exist, and who holds them.

    \b
    Examples:
      hamictl mig list
      hamictl --root /tmp/n --sim /tmp/node mig list -o json
    """
    snapshot = session.node.snapshot()
    gpus = select_gpus(snapshot, tuple(gpu or ()))

    session.emit(instances_document(snapshot, gpus), lambda: inventory.instance_table(gpus, wide=session.wide))


@verb(app, "templates")
def list_templates(
    session: Session,
    every: Annotated[bool, typer.Option("--all", help="Every model of the table, not only this node's.")] = False,
    templates: Templates = None,
) -> None:
    """List the templates (whole-GPU geometries) for this node's GPUs, in order of preference.

    \b
    Examples:
      hamictl mig templates
      hamictl mig templates --all
      hamictl mig templates --templates my-geometries.yaml
    """
    table = session.node.templates(templates)
    gpus = () if every else session.node.snapshot().gpus
    table = fit_table(table, gpus).table
    document = templates_document(table, gpus)
    if not every:
        document["models"] = [model for model in document["models"] if model["gpus"]]
    session.emit(document, lambda: inventory.template_table(document))


@verb(app, "plan")
def plan(
    session: Session,
    mem: Annotated[
        str | None, typer.Option("--mem", "-m", metavar="MEM", help="Memory per instance: 8000, 8Gi, 50%.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many instances.")] = 1,
    cores: Annotated[int, typer.Option(metavar="PERCENT", help="Share of the GPU's cores per instance.")] = 0,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="This profile, such as 1g.10gb+me.")] = None,
    gpu: Gpus = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Only GPUs of this model; repeatable.")
    ] = None,
    policy: Annotated[
        Policy, typer.Option(help="From templates as HAMi does, or any legal placement.")
    ] = Policy.TEMPLATE,
    gpu_policy: Annotated[GpuPolicy, typer.Option(help="GPUs in use first, or idle ones first.")] = GpuPolicy.BINPACK,
    memory_match: Annotated[
        MemoryMatch | None, typer.Option(help="Whose figure counts (template: policy template; nvml: packed).")
    ] = None,
    same_gpu: Annotated[bool, typer.Option("--same-gpu", help="Never spread over several GPUs.")] = False,
    no_enable: Annotated[bool, typer.Option("--no-enable", help="Refuse GPUs whose MIG mode is off.")] = False,
    reclaim_idle: Annotated[
        bool, typer.Option("--reclaim-idle", help="Allow to destroy idle instances that hamid did not make.")
    ] = False,
    templates: Templates = None,
    occupied: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[GPU=]LAYOUT",
            help="Assume used instances, such as 1=2g.10gb@0,2g.10gb@2 (GPU 0 unless said, MIG on). Repeatable.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show everything considered, and what is in the way.")
    ] = False,
) -> int:
    """Show where instances would go, or why they cannot; nothing is changed.

    \b
    Examples:
      hamictl mig plan --mem 8000 --count 2
      hamictl mig plan --mem 8Gi -i 0 --occupied 2g.10gb@0,2g.10gb@2 --explain
      hamictl mig plan --profile 1g.5gb+me --policy packed
      hamictl --sim 2xA100-SXM4-40GB mig plan --mem 20000 -o json

    \b
    Exit code 8 when the request cannot fit; the answer then says why for every GPU.
    """
    # Late, because only this command needs the planner and start-up is what scripts feel.
    from hamid.core.assume import assume_occupied  # noqa: PLC0415
    from hamid.core.decide import decide  # noqa: PLC0415

    request = make_request(
        count=count,
        memory=mem,
        profile=profile,
        cores=cores,
        policy=policy,
        memory_match=memory_match,
        gpu_policy=gpu_policy,
        gpus=tuple(gpu or ()),
        models=tuple(model or ()),
        same_gpu=same_gpu,
        enable_mig=not no_enable,
        reclaim_idle=reclaim_idle,
    )
    snapshot = session.node.snapshot()
    fitted = fit_table(session.node.templates(templates), snapshot.gpus)
    for layout in occupied or ():
        snapshot = assume_occupied(snapshot, layout)
    outcome = decide(request, snapshot, fitted.table, explain=explain, warnings=fitted.warnings)
    session.emit(plan_document(outcome), lambda: plan_page(outcome))
    return Exit.OK if isinstance(outcome, Plan) else Exit.NO_FIT
