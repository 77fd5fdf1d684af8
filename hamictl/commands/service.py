# SPDX-License-Identifier: Apache-2.0
"""hamictl service: install and remove hamid.service."""

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

app = noun("service", "Install or remove hamid.service for systemd.")
_LINKS_HINT = "run: nvidia-ctk system create-dev-char-symlinks --create-all, or: ln -s NODE LINK for each"
_MOST_NAMED = 4


@verb(app, "install")
def install(
    session: Session,
    run: ConfirmOptions,
    now: Annotated[bool, typer.Option("--now", help="Also start hamid now.")] = False,
) -> None:
    """Install and enable hamid.service.

    \b
    Examples:
      hamictl service install --dry-run
      hamictl service install --now --yes
      hamictl --root /mnt/image service install --yes

    \b
    With --root DIR, only write the files; do not call systemctl.
    Exit codes: 2 if a file not written by hamictl is in the way; 7 if GPU device nodes have no links in /dev/char, so
    that a daemon-reload would cut running containers off from their GPUs.
    """
    plan = node_access.service_plan(_paths(session), install=True, start=now)
    _carry_out(session, run, plan, "Install hamid.service?")


@verb(app, "uninstall")
def uninstall(session: Session, run: ConfirmOptions) -> None:
    """Stop, disable and remove hamid.service. State and configuration are kept.

    \b
    Examples:
      hamictl service uninstall --dry-run
      hamictl service uninstall --yes
    """
    plan = node_access.service_plan(_paths(session), install=False)
    _carry_out(session, run, plan, "Stop hamid and remove its service?")


def _paths(session: Session) -> "Paths":
    if session.sim is not None and session.root is None:
        raise UsageError("a simulated node has no systemd", "add --root DIR to write the files into DIR")
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
        raise InUse(f"a daemon-reload would cut containers off from their GPUs: {named}{more}", _LINKS_HINT)


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
