# SPDX-License-Identifier: Apache-2.0
"""hamictl mig: list profiles, instances and templates, and plan a request."""

from typing import Annotated

import typer

from hamictl import node_access
from hamictl.commands import mig_change, mig_claims
from hamictl.options import Gpus, noun, verb
from hamictl.render import inventory
from hamictl.render.plan import plan_page
from hamictl.request_options import RequestOptions
from hamictl.session import Session
from hamid.core.documents.inventory import instances_document, profiles_document, templates_document
from hamid.core.documents.plans import plan_document
from hamid.core.exits import Exit
from hamid.core.hardware.snapshot import select_gpus
from hamid.core.planner.decide import decide
from hamid.core.planner.plan import Plan
from hamid.core.planner.template_check import fit_table
from hamid.core.planner.what_if import assume_occupied

Templates = Annotated[
    str | None,
    typer.Option("--templates", metavar="FILE", help="File with knownMigGeometries, as in HAMi's device-config.yaml."),
]

app = noun("mig", "Inspect, plan and change MIG layouts.")


mig_change.register(app)
mig_claims.register(app)


@verb(app, "profiles")
def list_profiles(session: Session, gpu: Gpus = None) -> None:
    """List the MIG profiles of each GPU with their placements.

    \b
    Examples:
      hamictl mig profiles
      hamictl mig profiles -i 0 -o json
    """
    snapshot = session.snapshot()
    gpus = select_gpus(snapshot, tuple(gpu or ()))

    session.emit(profiles_document(snapshot, gpus), lambda: inventory.profile_table(gpus, wide=session.wide))


@verb(app, "list")
def list_instances(session: Session, gpu: Gpus = None) -> None:
    """List the existing MIG instances and what holds each.

    \b
    Examples:
      hamictl mig list
      hamictl --root /tmp/n --sim /tmp/node mig list -o json
    """
    snapshot = session.snapshot()
    gpus = select_gpus(snapshot, tuple(gpu or ()))

    session.emit(instances_document(snapshot, gpus), lambda: inventory.instance_table(gpus, wide=session.wide))


@verb(app, "templates")
def list_templates(
    session: Session,
    every: Annotated[bool, typer.Option("--all", help="Show all models of the table, not only this node's.")] = False,
    templates: Templates = None,
) -> None:
    """List the MIG templates for this node's GPUs. The preferred ones come first.

    \b
    Examples:
      hamictl mig templates
      hamictl mig templates --all
      hamictl mig templates --templates my-geometries.yaml
    """
    table = node_access.templates(session.node, templates)
    gpus = () if every else session.snapshot().gpus
    table = fit_table(table, gpus).table
    document = templates_document(table, gpus)
    if not every:
        document["models"] = [model for model in document["models"] if model["gpus"]]
    session.emit(document, lambda: inventory.template_table(document))


@verb(app, "plan")
def plan(
    session: Session,
    wanted: RequestOptions,
    templates: Templates = None,
    occupied: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[GPU=]LAYOUT",
            help="Assume used instances, such as 1=2g.10gb@0,2g.10gb@2 (default GPU 0; implies MIG on). Repeatable.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every option considered, and every obstacle.")
    ] = False,
) -> int:
    """Show where instances would be placed, or why not.

    \b
    Examples:
      hamictl mig plan --mem 8000 --count 2
      hamictl mig plan --mem 8Gi -i 0 --occupied 2g.10gb@0,2g.10gb@2 --explain
      hamictl mig plan --profile 1g.5gb+me --policy packed
      hamictl --sim 2xA100-SXM4-40GB mig plan --mem 20000 -o json

    \b
    Exit code: 8 if the request cannot fit; the output then gives the reason for each GPU.
    """
    request = wanted.request()
    snapshot = session.snapshot()
    fitted = fit_table(node_access.templates(session.node, templates), snapshot.gpus)
    for layout in occupied or ():
        snapshot = assume_occupied(snapshot, layout)
    outcome = decide(request, snapshot, fitted.table, explain=explain, warnings=fitted.warnings)
    session.emit(plan_document(outcome), lambda: plan_page(outcome))
    return Exit.OK if isinstance(outcome, Plan) else Exit.NO_FIT
