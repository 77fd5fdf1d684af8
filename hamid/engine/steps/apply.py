# SPDX-License-Identifier: Apache-2.0
"""apply: carry out a plan, completely or not at all, and record its claim.

Invariant: nothing begins unless the node still matches the plan. An error undoes what this plan did on all GPUs. If
the process dies at any instant, `recover` finishes or undoes the plan.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from hamid.core.claims.claim import ClaimedSeat, InstanceKey, LedgerFacts, instance_at
from hamid.core.claims.journal import Goal, describe, newly_made, seat_of_step
from hamid.core.errors import LedgerUntrusted, NodeError, StalePlan, UsageError
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.plan import CreateInstance, SetMigMode, Step
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.workers import TIMEOUT_SECONDS
from hamid.engine.steps.recover import recover_in
from hamid.engine.steps.run import Progress, Running, roll_back
from hamid.node.paths import Paths

__all__ = ["ApplyReport", "Progress", "apply"]

_AGAIN = "plan again; hamictl mig plan shows the current state"


class ApplyReport(Struct, frozen=True, kw_only=True):
    """What was done, and the node afterwards; `claim` is the new claim, if one was requested."""

    done: tuple[Step, ...]
    undone: tuple[Step, ...]
    snapshot: Snapshot
    messages: tuple[str, ...]
    claim: str | None


def apply(
    paths: Paths,
    steps: Sequence[Step],
    *,
    fingerprint: str,
    claim: str | None = None,
    claim_instances: Sequence[tuple[str, int, int]] = (),
    keep_pending: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ApplyReport:
    """Carry out the steps of a plan made for the snapshot with this fingerprint.

    Raises StalePlan, LedgerBusy, LedgerUntrusted or UsageError before anything has begun; InUse, ModePending,
    ForeignInstance, DriverHung, NvmlFailed, NotPermitted, LedgerFailed or NodeError when a step failed, with what
    was undone in the error's notes. Once `stop` returns True no further step begins, and finished steps are kept.
    """
    with DriverSession(paths, timeout_seconds) as session:
        messages = recover_in(session)
        before = session.observe()
        if before.fingerprint() != fingerprint:
            raise _told(StalePlan("the node changed since this plan was made; nothing was changed", _AGAIN), messages)
        seats = tuple(InstanceKey(*each) for each in claim_instances)
        _check(session, before, steps, claim, seats)
        run = session.ledger.begin_run(steps, goal=Goal.ALL, operator_name=claim or "", claim_seats=seats)
        running = Running(session, run, progress=progress, stop=stop, keep_pending=keep_pending)
        running.go(enumerate(steps))
        return _end(session, running, run, messages)


def _check(
    session: DriverSession, before: Snapshot, steps: Sequence[Step], claim: str | None, seats: Sequence[InstanceKey]
) -> None:
    """The conditions that must hold before anything begins."""
    facts = session.ledger.facts()
    busy = {step.gpu_uuid for open_run in session.ledger.open_runs() for step in open_run.steps}
    for step in steps:
        if step.gpu_uuid in busy:
            raise NodeError(
                f"{describe(step)}: an earlier change of that GPU is unfinished because the GPU does not answer",
                "see: hamictl gpu list; once the GPU answers, finish the earlier change with: hamictl mig repair",
            )
    if claim is not None:
        _check_claim(before, facts, claim, seats)


def _check_claim(before: Snapshot, facts: LedgerFacts, claim: str, seats: Sequence[InstanceKey]) -> None:
    """A claim needs a unique name, unclaimed seats and a trusted ledger."""
    if not facts.trusted or facts.unexplained:
        raise LedgerUntrusted("no claim can be granted: the ledger was rebuilt", "hamictl mig repair")
    if any(each.name == claim for each in facts.claims):
        raise UsageError(
            f"claim '{claim}' already exists", f"choose another name, or: hamictl mig release --name {claim}"
        )
    if len(set(seats)) < len(seats):
        raise UsageError(f"claim '{claim}' names an instance twice", _AGAIN)
    known = {gpu.uuid for gpu in before.gpus}
    for seat in seats:
        if facts.claim_on(seat):
            raise UsageError(f"start {seat.start} belongs to claim '{facts.claim_on(seat)}'", _AGAIN)
        if seat.gpu_uuid not in known:
            raise UsageError(f"this node has no GPU {seat.gpu_uuid}", "hamictl gpu list")


def _end(session: DriverSession, running: Running, run: int, messages: list[str]) -> ApplyReport:
    """Verify and close the run, or undo everything and raise."""
    snapshot = session.observe()
    whole = not running.errors and not running.stopped
    if not running.errors:
        running.errors += _verify(snapshot, [step for _, step in running.done])
    journal = session.ledger.run(run)
    seats: list[ClaimedSeat] = []
    if whole and not running.errors and journal.operator_name:
        seats = _claimed(running, snapshot, journal.claim_seats, newly_made(journal))
    if running.errors:
        raise _failure(session, running, run, messages)
    claim = (journal.operator_name or None) if whole else None
    session.ledger.end_run(run, "done" if whole else "stopped", seats=None if claim is None else seats)
    if not whole:
        running.note(f"stopped after {len(running.done)} of {len(journal.steps)} steps; finished steps are kept")
    return ApplyReport(
        done=tuple(step for _, step in sorted(running.done, key=lambda pair: pair[0])),
        undone=tuple(running.undone),
        snapshot=session.observe() if claim is not None else snapshot,
        messages=(*messages, *running.messages),
        claim=claim,
    )


def _verify(snapshot: Snapshot, done: Sequence[Step]) -> list[Exception]:
    """Check that the node shows every finished step; only the last step on a seat counts."""
    gpus = {gpu.uuid: gpu for gpu in snapshot.gpus}
    wanted = {step.gpu_uuid if isinstance(step, SetMigMode) else seat_of_step(step): step for step in done}
    return [
        NodeError(f"{describe(step)}: NVML reported success, but the node does not show it", "hamictl mig repair")
        for step in wanted.values()
        if not _holds(gpus.get(step.gpu_uuid), step)
    ]


def _holds(gpu: Gpu | None, step: Step) -> bool:
    if gpu is None:
        return False
    if isinstance(step, SetMigMode):
        return step.enabled in {gpu.mig_enabled, gpu.mig_pending}
    instance = instance_at(gpu, seat_of_step(step))
    if isinstance(step, CreateInstance):
        return instance is not None and instance.compute_instances == 1
    return instance is None


def _claimed(
    running: Running, snapshot: Snapshot, seats: Sequence[InstanceKey], made: frozenset[InstanceKey]
) -> list[ClaimedSeat]:
    found = []
    for seat in seats:
        gpu = next((gpu for gpu in snapshot.gpus if gpu.uuid == seat.gpu_uuid), None)
        instance = instance_at(gpu, seat) if gpu is not None else None
        if instance is None:
            running.errors.append(NodeError(f"the claim's instance at start {seat.start} is not there", _AGAIN))
            continue
        found.append(
            ClaimedSeat(
                seat=seat,
                profile=instance.profile,
                size=instance.placement.size,
                made=seat in made,
                mig_uuid=instance.mig_uuid,
            )
        )
    return found


def _failure(session: DriverSession, running: Running, run: int, messages: list[str]) -> Exception:
    """The first error, after everything that can be undone has been."""
    error = running.errors[0]
    over = roll_back(session, running, run)
    told = [*messages, *running.messages]
    told += [f"undone: {describe(step)}" for step in running.undone]
    told += [f"also: {other}" for other in running.errors[1:] if str(other) != str(error)]
    if not over:
        told.append("part of this plan could not be undone; it stays in the journal, and the next command tries again")
    return _told(error, told)


def _told(error: Exception, messages: Sequence[str]) -> Exception:
    for message in messages:
        error.add_note(message)
    return error
