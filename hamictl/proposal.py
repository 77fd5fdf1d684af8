# SPDX-License-Identifier: Apache-2.0
"""plan -> confirm -> apply: the proposed change, shared by all commands that change MIG."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from hamictl import node_access
from hamictl.prompt import agreed
from hamictl.render.change import change_page, plan_as_change, step_text
from hamid.core.documents.changes import change_document, outcome_document
from hamid.core.documents.envelope import Document
from hamid.core.errors import UsageError
from hamid.core.exits import Exit
from hamid.core.hardware.profile import Profile
from hamid.core.planner.plan import Plan, Step
from hamid.core.relayout.change import Change
from hamid.core.relayout.saved_plan import SavedPlan, SavedSeat, encode_plan

if TYPE_CHECKING:
    from hamictl.session import Session

# One day: a driver call that takes longer never returns.
_LONGEST_TIMEOUT_SECONDS = 86400


class ConfirmOptions(Struct, kw_only=True):
    """Options for confirmation: preview only, or skip the prompt."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False


class RunOptions(ConfirmOptions, kw_only=True):
    """Options for applying a proposed change."""

    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Save the plan to FILE for 'mig apply FILE'; change nothing."),
    ] = None
    keep_pending: Annotated[
        bool, typer.Option("--keep-pending", help="Keep a mode change pending if it cannot take effect now.")
    ] = False
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Deadline of each driver call.")] = 60.0


class Proposal(Struct, frozen=True, kw_only=True):
    """A change to apply: its steps, the fingerprint of its snapshot, and its page and document."""

    steps: tuple[Step, ...]
    fingerprint: str
    simulated: bool
    page: str
    document: Document
    blocked: bool = False
    claim: str | None = None
    seats: tuple[SavedSeat, ...] = ()

    @property
    def idle(self) -> bool:
        """True if there is nothing to do."""
        return not self.steps and self.claim is None


def propose_change(change: Change) -> Proposal:
    """A change to given layouts; it creates no claim."""
    return Proposal(
        steps=change.steps,
        fingerprint=change.fingerprint,
        simulated=change.simulated,
        page=change_page(change),
        document=change_document(change),
        blocked=change.blocked,
    )


def propose_plan(plan: Plan, claim: str) -> Proposal:
    """A plan of `mig plan`, with the operator's claim that will hold its instances."""
    seats = tuple(
        SavedSeat(gpu_uuid=each.gpu.uuid, profile_id=_profile_id(each.gpu.profiles, i.profile), start=i.placement.start)
        for each in plan.gpus
        for i in each.instances
        if i.serves
    )
    return Proposal(
        steps=plan.steps,
        fingerprint=plan.fingerprint,
        simulated=plan.simulated,
        page=plan_as_change(plan),
        document=change_document(plan),
        claim=claim,
        seats=seats,
    )


def propose_saved(saved: SavedPlan) -> Proposal:
    """A plan from a file. Its fingerprint is checked later, under the lock."""
    lines = [f"  {number}. {step_text(step)}" for number, step in enumerate(saved.steps, 1)]
    return Proposal(
        steps=saved.steps,
        fingerprint=saved.fingerprint,
        simulated=saved.simulated,
        page="\n".join(["Saved plan:", *lines]) + "\n",
        document=change_document(saved),
        claim=saved.claim,
        seats=saved.claim_instances,
    )


def _profile_id(profiles: Iterable[Profile], name: str) -> int:
    return next(profile.profile_id for profile in profiles if profile.name == name)


def carry_out(session: "Session", proposal: Proposal, run: RunOptions) -> int:
    """Show, save or confirm, and apply. Exit codes: 0 done or nothing to do, 7 blocked, 9 partial, 130 interrupted."""
    if not 0 < run.timeout <= _LONGEST_TIMEOUT_SECONDS:
        raise UsageError(
            f"--timeout {run.timeout:g} is out of range",
            f"give a number of seconds above 0 and up to {_LONGEST_TIMEOUT_SECONDS}",
        )
    if proposal.blocked or proposal.idle or run.dry_run or run.out is not None:
        if run.out is not None and not proposal.blocked:
            _save(proposal, run.out)
        session.emit(proposal.document, lambda: proposal.page)
        return Exit.REFUSED if proposal.blocked else Exit.OK
    if not session.structured:
        sys.stdout.write(proposal.page)
        sys.stdout.flush()
    confirm(run, "Apply this plan?")
    return _apply(session, proposal, run)


def confirm(run: ConfirmOptions, question: str) -> None:
    """Ask on a terminal. Raises UsageError without a terminal and --yes, and Exit if the answer is no."""
    if run.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "not a terminal, so the change cannot be confirmed", "pass --yes to confirm, or --dry-run to preview"
        )
    if not agreed(question):
        sys.stderr.write("nothing was changed\n")
        raise typer.Exit(Exit.FAILURE)


def _save(proposal: Proposal, path: str) -> None:
    plan = SavedPlan(
        simulated=proposal.simulated,
        fingerprint=proposal.fingerprint,
        claim=proposal.claim,
        claim_instances=proposal.seats,
        steps=proposal.steps,
    )
    node_access.write_file(path, encode_plan(plan))
    sys.stderr.write(f"saved; apply it with: hamictl mig apply {path}\n")


def _apply(session: "Session", proposal: Proposal, run: RunOptions) -> int:
    from hamictl.progress import FirstInterrupt, StepLines

    with FirstInterrupt() as interrupt:
        report = node_access.apply(
            session.node,
            proposal.steps,
            fingerprint=proposal.fingerprint,
            claim=proposal.claim,
            seats=proposal.seats,
            keep_pending=run.keep_pending,
            timeout_seconds=run.timeout,
            progress=StepLines(len(proposal.steps)),
            stop=interrupt.asked,
        )
    for message in report.messages:
        sys.stderr.write(f"{message}\n")
    whole = len(report.done) == len(proposal.steps)
    document = outcome_document(proposal.document, report.done, report.undone, report.messages, report.claim)
    session.emit(document, lambda: _closing(proposal, len(report.done), report.claim))
    return Exit.OK if whole else Exit.INTERRUPTED if interrupt.asked() else Exit.PARTIAL


def _closing(proposal: Proposal, done: int, claim: str | None) -> str:
    held = f"; held as claim '{claim}', release it with: hamictl mig release --name {claim}" if claim else ""
    return f"Applied: {done} of {len(proposal.steps)} steps{held}\n"
