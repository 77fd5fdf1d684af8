# SPDX-License-Identifier: Apache-2.0
"""hamictl mig: release claims, repair the ledger and restore instances after a reboot."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hamictl import node_access
from hamictl.options import Gpus, verb
from hamictl.proposal import ConfirmOptions, confirm
from hamictl.render.tables import table
from hamictl.session import Session
from hamid.core.documents.envelope import Document, envelope
from hamid.core.errors import UsageError
from hamid.core.exits import Exit
from hamid.core.hardware.snapshot import Snapshot, select_gpus

if TYPE_CHECKING:
    from hamictl.node_access import RestoreReport


def register(app: typer.Typer) -> None:
    """Add these commands to `hamictl mig`."""
    verb(app, "release")(release)
    verb(app, "repair")(repair)
    verb(app, "restore")(restore)


def release(
    session: Session,
    run: ConfirmOptions,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the claim to end.")] = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="UUID", help="UUID of the MIG instance to release.")
    ] = None,
) -> None:
    """End an operator's claim. Its instances are destroyed once they are idle, if hamid created them.

    \b
    Examples:
      hamictl mig release --name training
      hamictl mig release --instance MIG-5d9b3c0e-...
    """
    if (name is None) == (instance is None):
        raise UsageError("specify exactly one of --name and --instance", "list the claims with: hamictl alloc list")
    what = f"claim '{name}'" if name is not None else f"instance {instance}"
    snapshot = session.snapshot()
    _check_known(session, snapshot, name, instance)
    if run.dry_run:
        _told(session, snapshot, [f"would release {what}"])
        return
    confirm(run, f"Release {what}?")
    done = _release(session, name, instance or "")
    _told(session, snapshot, done or [f"{what} is released"])


def _release(session: Session, name: str | None, instance: str) -> list[str]:
    if name is None:
        return node_access.release_instance(session.node, instance)
    return node_access.release(session.node, name)


def _check_known(session: Session, snapshot: Snapshot, name: str | None, instance: str | None) -> None:
    """Fail before the prompt if there is no such claim or instance."""
    if name is not None:
        known = sorted(claim.name for claim in node_access.claims(session.node))
        if name not in known:
            raise UsageError(f"no claim named '{name}'", f"existing claims: {', '.join(known) or 'none'}")
    elif not any(each.mig_uuid == instance for gpu in snapshot.gpus for each in gpu.instances):
        raise UsageError(f"no instance with UUID '{instance}'", "list the instances with: hamictl mig list")


def repair(
    session: Session,
    run: ConfirmOptions,
    gpu: Gpus = None,
    reclaim_idle: Annotated[
        bool,
        typer.Option("--reclaim-idle", help="Also destroy idle instances not created by hamid, on the GPUs of -i."),
    ] = False,
) -> int:
    """Show where the ledger and the node disagree, and repair it.

    \b
    Examples:
      hamictl mig repair --dry-run
      hamictl mig repair --reclaim-idle -i 0 --yes
    """
    if reclaim_idle and not gpu:
        raise UsageError("missing -i GPU: --reclaim-idle needs at least one GPU", "add -i GPU; repeat it for several")
    snapshot = session.snapshot()
    uuids = [each.uuid for each in select_gpus(snapshot, tuple(gpu or ()))] if reclaim_idle else []
    findings, carry_out_repair = node_access.repair_plan(session.node, uuids)
    rows = [(each.gpu, each.kind, "yes" if each.repairable else "no", each.text) for each in findings]
    repairable = any(each.repairable for each in findings)
    done: list[str] = []
    if not session.structured:
        listing = table(["GPU", "KIND", "REPAIRED", "FINDING"], rows) if rows else "the ledger and the node agree\n"
        sys.stdout.write(listing)
    if repairable and not run.dry_run:
        confirm(run, "Repair these findings?")
        done = carry_out_repair()
    document = {
        **envelope("MigRepair", simulated=snapshot.simulated),
        "findings": [{"gpu": e.gpu, "what": e.kind, "mends": e.repairable, "text": e.text} for e in findings],
        "done": done,
    }
    session.emit(document, lambda: "".join(f"{line}\n" for line in done))
    return Exit.OK


def restore(session: Session, run: ConfirmOptions) -> int:
    """Recreate the instances of all claims after a reboot. Each gets its recorded placement.

    \b
    Examples:
      hamictl mig restore --dry-run
      hamictl mig restore --yes
    """
    snapshot = session.snapshot()
    if run.dry_run:
        report = node_access.restore_preview(session.node, snapshot)
    else:
        confirm(run, "Recreate the instances of all claims?")
        report = node_access.restore(session.node)
    for message in report.messages:
        sys.stderr.write(f"{message}\n")
    rows = [(e.claim, e.profile, e.start, e.before, e.now) for e in report.instances]
    document = restore_document(report, simulated=snapshot.simulated)
    session.emit(document, lambda: table(["CLAIM", "PROFILE", "START", "BEFORE", "NOW"], rows))
    return Exit.OK if report.complete or run.dry_run else Exit.PARTIAL


def restore_document(report: "RestoreReport", *, simulated: bool) -> Document:
    """The JSON document; `now` is null for an instance that does not exist."""
    instances = [
        {
            "claim": each.claim,
            "profile": each.profile,
            "gpuUUID": each.gpu_uuid,
            "start": each.start,
            "before": each.before,
            "now": each.now,
        }
        for each in report.instances
    ]
    head = envelope("MigRestore", simulated=simulated)
    return {**head, "instances": instances, "messages": list(report.messages)}


def _told(session: Session, snapshot: Snapshot, lines: list[str]) -> None:
    document = {**envelope("MigRelease", simulated=snapshot.simulated), "done": lines}
    session.emit(document, lambda: "".join(f"{line}\n" for line in lines))
