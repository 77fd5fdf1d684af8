# SPDX-License-Identifier: Apache-2.0
"""hamictl service: hamid under systemd."""

from typing import TYPE_CHECKING, Annotated

import typer

from hamictl import node_access
from hamictl.options import noun, verb
from hamictl.proposal import ConfirmOptions, confirm
from hamictl.session import Session
from hamid.core.documents.envelope import Document, envelope
from hamid.core.errors import InUse, UsageError

if TYPE_CHECKING:
    from hamictl.node_access import Paths, ServicePlan

app = noun("service", "Install hamid as a service of systemd, or take it away.")
_LINKS_HINT = "nvidia-ctk system create-dev-char-symlinks --create-all, or: ln -s NODE LINK for each"
_MOST_NAMED = 4


@verb(app, "install")
def install(
    session: Session,
    run: ConfirmOptions,
    now: Annotated[bool, typer.Option("--now", help="Also start it.")] = False,
) -> None:
    """Write hamid's files for systemd, have it read them, and enable hamid.service.

    \b
    Examples:
      hamictl service install --dry-run
      hamictl service install --now --yes
      hamictl --root /mnt/image service install --yes

    \b
    Exit codes: 2 a file of somebody else is in the way, 7 GPUs' device nodes have no links in /dev/char, so that the
    daemon-reload would cut running containers off their GPUs. With --root DIR only files are written.
    """
    plan = node_access.service_plan(_paths(session), install=True, start=now)
    _carry_out(session, run, plan, "Install hamid.service?")


@verb(app, "uninstall")
def uninstall(session: Session, run: ConfirmOptions) -> None:
    """Stop and disable hamid.service, and remove what 'service install' wrote; state and configuration stay.

    \b
    Examples:
      hamictl service uninstall --dry-run
      hamictl service uninstall --yes
    """
    plan = node_access.service_plan(_paths(session), install=False)
    _carry_out(session, run, plan, "Stop hamid and remove its service?")


def _paths(session: Session) -> "Paths":
    if session.sim is not None and session.root is None:
        raise UsageError("a simulated node has no systemd", "add --root DIR to write the files there")
    return session.paths


def _carry_out(session: Session, run: ConfirmOptions, plan: "ServicePlan", question: str) -> None:
    document = _document(plan, dry_run=run.dry_run)
    if not run.dry_run:
        _check_links(plan)
        confirm(run, question)
        node_access.change_service(plan)
    session.emit(document, lambda: _page(document))


def _check_links(plan: "ServicePlan") -> None:
    if plan.missing_links and plan.commands:
        named = ", ".join(f"{node} (no {link})" for node, link in plan.missing_links[:_MOST_NAMED])
        more = f" and {len(plan.missing_links) - _MOST_NAMED} more" if len(plan.missing_links) > _MOST_NAMED else ""
        raise InUse(f"a daemon-reload would cut containers off their GPUs: {named}{more}", _LINKS_HINT)


def _document(plan: "ServicePlan", *, dry_run: bool) -> Document:
    return {
        **envelope("ServiceChange"),
        "dryRun": dry_run,
        "files": [{"path": each.path, "action": each.action.value} for each in plan.files],
        "commands": [" ".join(each) for each in (*plan.before, *plan.commands)],
        "missingLinks": [{"node": node, "link": link} for node, link in plan.missing_links],
    }


def _page(document: Document) -> str:
    would = "would " if document["dryRun"] else ""
    lines = [f"{would}{each['action']} {each['path']}" for each in document["files"]]
    lines += [f"{would}run {each}" for each in document["commands"]]
    lines += [f"warning: {each['node']} has no link {each['link']}" for each in document["missingLinks"]]
    return "".join(f"{line}\n" for line in lines) or "nothing to do\n"
