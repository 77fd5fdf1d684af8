# SPDX-License-Identifier: Apache-2.0
"""recover finishes or undoes what a dead process left in the journal; repair fixes what no journal records.

Invariant: recovery decides from what NVML shows, so it may itself die at any instant and be repeated. It never
touches an instance in use.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims.claim import ClaimedSeat, InstanceKey, LedgerFacts, instance_at, missing, seat_of, users
from hamid.core.claims.journal import EntryState, Goal, Run, describe, newly_made
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.eligibility import is_served
from hamid.core.planner.plan import CreateInstance, DestroyInstance, Step, destroy, recreate
from hamid.engine.driver.session import DriverSession
from hamid.engine.steps.run import Running, finish_each, pending_claim, roll_back
from hamid.node.ledger import files
from hamid.node.paths import Paths


class Finding(Struct, frozen=True, kw_only=True):
    """A difference between the ledger and the node.

    `kind`: ledger (it cannot be trusted), interrupted (a change whose process died), half-made, missing, unexplained or
    foreign; `gpu` is its index; `repairable` tells whether a repair changes it.
    """

    kind: str
    gpu: int | None
    text: str
    repairable: bool = True


def recover(paths: Paths) -> list[str]:
    """Finish or undo what dead processes left behind; return messages. Without open runs this does nothing."""
    if files.state_of(paths.ledger) == "none":
        return []
    with DriverSession(paths) as session:
        return recover_in(session)


def recover_in(session: DriverSession) -> list[str]:
    """The same within a session."""
    runs = session.ledger.open_runs()
    if not runs:
        return []
    snapshot = session.observe()
    return [message for run in runs for message in _recover_run(session, snapshot, run)]


def _recover_run(session: DriverSession, snapshot: Snapshot, run: Run) -> list[str]:
    who = f"the change that process {run.pid} ({run.command or 'unknown'}) began"
    if run.boot_id != session.ledger.boot:
        drops = run.claim if run.goal is Goal.EACH else pending_claim(session, run)
        session.ledger.end_run(run.run, "rebooted", drops=drops)
        return [f"{who} ended with the reboot; nothing remains of it"]
    if run.goal is Goal.EACH:
        return _go_on(session, run, who)
    if run.complete and pending_claim(session, run) is None:
        return _finish(session, snapshot, run, who)
    return _undo(session, snapshot, run, who)


def _go_on(session: DriverSession, run: Run, who: str) -> list[str]:
    running = Running(session, run.run, goal=Goal.EACH, claim=run.claim)
    finish_each(session, running, run)
    done = [f"finished: {describe(step)}" for _, step in running.done]
    return [f"{who} was finished", *done, *running.messages, *map(str, running.errors)]


def _finish(session: DriverSession, snapshot: Snapshot, run: Run, who: str) -> list[str]:
    """Only the end of the run was not recorded; the claim is kept if its instances still exist and are free."""
    seats = _claimable(session, snapshot, run)
    name = run.operator_name
    if not name or seats is None:
        session.ledger.end_run(run.run, "done")
        lost = f"; its claim '{name}' was dropped" if name else ""
        return [f"{who} was complete{lost}"]
    session.ledger.end_run(run.run, "done", seats=seats)
    return [f"{who} was complete; its claim '{name}' was recorded"]


def _claimable(session: DriverSession, snapshot: Snapshot, run: Run) -> list[ClaimedSeat] | None:
    facts = session.ledger.facts()
    made = newly_made(run)
    found = []
    for seat in dict.fromkeys(run.claim_seats):
        instance = _instance(snapshot, seat)
        if instance is None or facts.claim_on(seat) or not facts.trusted:
            return None
        found.append(
            ClaimedSeat(
                seat=seat,
                profile=instance.profile,
                size=instance.placement.size,
                made=seat in made,
                mig_uuid=instance.mig_uuid,
            )
        )
    return None if any(claim.name == run.operator_name for claim in facts.claims) else found


def _undo(session: DriverSession, snapshot: Snapshot, run: Run, who: str) -> list[str]:
    running = Running(session, run.run, claim=run.claim)
    _drop_gone(session, snapshot, run)
    over = roll_back(session, running, run.run)
    first = f"{who} was undone" if over else f"{who} could not be undone on all GPUs yet"
    undone = [f"undone: {describe(step)}" for step in running.undone]
    return [first, *undone, *running.messages, *map(str, running.errors)]


def _drop_gone(session: DriverSession, snapshot: Snapshot, run: Run) -> None:
    """Entries about a GPU that was taken out of the node; one that is lost has no uuid and may return."""
    if any(not gpu.uuid for gpu in snapshot.gpus):
        return
    for entry in run.entries:
        if session.index_of(entry.step.gpu_uuid) is None:
            session.ledger.end_step(run.run, entry.position, EntryState.OVER)


def repair_plan(paths: Paths, *, reclaim_idle: Sequence[str] = ()) -> tuple[list[Finding], Callable[[], list[str]]]:
    """Where the ledger and the node disagree, and a function that repairs it and returns messages about it.

    Foreign instances are only listed, except that idle ones on the GPUs (by uuid) of `reclaim_idle` are destroyed.
    Nothing changes before the function is called. A damaged ledger is the only finding until it is rebuilt.
    """
    if bad := files.damage(paths.ledger):
        text = f"the ledger is {bad}; it will be set aside and rebuilt from the node's state"
        return [Finding(kind="ledger", gpu=None, text=text)], lambda: _renew(paths, text)
    with DriverSession(paths) as session:
        runs = session.ledger.open_runs()
        interrupted = [Finding(kind="interrupted", gpu=None, text=_unfinished(run)) for run in runs]
        # GPUs of an interrupted change are reported after that change has been finished or undone.
        busy = {step.gpu_uuid for run in runs for step in run.steps}
        snapshot = session.observe()
        snapshot = replace(snapshot, gpus=tuple(gpu for gpu in snapshot.gpus if gpu.uuid not in busy))
        found = _findings(snapshot, session.ledger.facts(), frozenset(reclaim_idle))
    return [*interrupted, *(finding for finding, _ in found)], lambda: _repair(paths, frozenset(reclaim_idle))


def _unfinished(run: Run) -> str:
    steps = ", ".join(describe(step) for step in run.steps)
    who = f"process {run.pid} ({run.command or 'unknown'})"
    return f"{who} did not end its change ({steps}); it will be finished or undone"


_Cure = Step | InstanceKey | None


def _findings(snapshot: Snapshot, facts: LedgerFacts, reclaim: frozenset[str]) -> list[tuple[Finding, _Cure]]:
    found: list[tuple[Finding, _Cure]] = []
    for gpu in snapshot.gpus:
        found += [pair for each in gpu.instances for pair in _judge(gpu, each, facts, reclaim)]
    healthy = [gpu for gpu in snapshot.gpus if is_served(gpu)]
    known = {gpu.uuid: gpu.index for gpu in healthy}
    for own in missing(healthy, facts):
        if own.seat.gpu_uuid in known:
            text = f"{own.profile}@{own.seat.start} is in the ledger but not on GPU {known[own.seat.gpu_uuid]}"
            found.append((Finding(kind="missing", gpu=known[own.seat.gpu_uuid], text=text), own.seat))
    return found


def _judge(gpu: Gpu, each: Instance, facts: LedgerFacts, reclaim: frozenset[str]) -> list[tuple[Finding, _Cure]]:
    seat = seat_of(gpu, each)
    own = facts.own_at(seat)
    name = f"{each.profile}@{each.placement.start} on GPU {gpu.index}"
    if seat in facts.unexplained:
        text = f"{name} existed when the ledger was rebuilt; repair records that no claim holds it"
        return [(Finding(kind="unexplained", gpu=gpu.index, text=text), seat)]
    if own is not None and own.is_at(each):
        return _judge_own(gpu, each, name, facts)
    goes = gpu.uuid in reclaim and not users(each, facts, seat) and each.compute_instances <= 1
    held = users(each, facts, seat)
    end = "will be destroyed" if goes else "is kept"
    text = f"{name} was not created by hamid ({f'used by {held}' if held else 'idle'}) and {end}"
    return [(Finding(kind="foreign", gpu=gpu.index, text=text, repairable=goes), destroy(gpu, each) if goes else None)]


def _judge_own(gpu: Gpu, each: Instance, name: str, facts: LedgerFacts) -> list[tuple[Finding, _Cure]]:
    if each.compute_instances > 0:
        return []
    if facts.claim_on(seat_of(gpu, each)):
        cure: _Cure = recreate(gpu, each)
        text = f"{name} has no compute instance; it will get one because a claim holds it"
    else:
        cure, text = destroy(gpu, each), f"{name} has no compute instance; it will be destroyed"
    return [(Finding(kind="half-made", gpu=gpu.index, text=text), cure)]


def _renew(paths: Paths, text: str) -> list[str]:
    """Opening the ledger for writing rebuilds it. Repair nothing else: the user has not seen other findings yet."""
    with DriverSession(paths) as session:
        session.observe()
    return [f"repaired: {text}", "see the remaining findings with: hamictl mig repair --dry-run"]


def _repair(paths: Paths, reclaim: frozenset[str]) -> list[str]:
    """Search again under the lock, and repair each finding separately."""
    with DriverSession(paths) as session:
        messages = recover_in(session)
        snapshot = session.observe()
        found = _findings(snapshot, session.ledger.facts(), reclaim)
        for finding, cure in found:
            if isinstance(cure, InstanceKey):
                if finding.kind == "missing":
                    session.ledger.forget(cure)
                else:
                    session.ledger.explain([cure])
                messages.append(f"repaired: {finding.text}")
        steps = [cure for _, cure in found if isinstance(cure, CreateInstance | DestroyInstance)]
        return messages + carry_each(session, steps)


def carry_each(session: DriverSession, steps: Sequence[Step], releases: Sequence[InstanceKey] = ()) -> list[str]:
    """Do independent steps, journaled; return messages about results and failures."""
    if not steps and not releases:
        return []
    number = session.ledger.begin_run(steps, goal=Goal.EACH, releases=releases)
    running = Running(session, number, goal=Goal.EACH)
    finish_each(session, running, session.ledger.run(number))
    done = [f"done: {describe(step)}" for _, step in running.done]
    return [*done, *running.messages, *map(str, running.errors)]


def _instance(snapshot: Snapshot, seat: InstanceKey) -> Instance | None:
    gpu = next((gpu for gpu in snapshot.gpus if gpu.uuid == seat.gpu_uuid), None)
    return None if gpu is None else instance_at(gpu, seat)
