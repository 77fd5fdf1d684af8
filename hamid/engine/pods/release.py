# SPDX-License-Identifier: Apache-2.0
"""The end of a container's claim: what was made for it goes, and the claim with the last of it.

The law: the claim stays on the ledger until all of it is gone, so that whatever dies in between is taken up again;
what a process uses is never destroyed, and keeps its claim.
"""

from collections.abc import Iterable, Iterator, Sequence

from hamid.core.claims.claim import Claim, InstanceKey
from hamid.core.claims.journal import Goal, Run, seat_of_step
from hamid.core.errors import NodeError
from hamid.core.planner.steps import DestroyInstance, Step
from hamid.engine.driver.live import Live
from hamid.engine.pods import share_folders
from hamid.engine.steps.run import Running, finish_each, roll_back


def end_claim(live: Live, claim: Claim) -> list[Exception]:
    """Destroy what was made for a claim and take it off the ledger; what stood in the way, and then it stays.

    Nothing is done while another thread ends it.
    """
    with live.alone(claim.name) as mine:
        if not mine:
            return [NodeError(f"claim '{claim.name}' is being ended already")]
        share_folders.remove(live.paths, live.config, claim)
        run = live.ledger.begin_run(tuple(_steps(live, claim)), goal=Goal.EACH, claim=claim.name)
        return _finish(live, live.ledger.run(run))


def _steps(live: Live, claim: Claim) -> Iterator[DestroyInstance]:
    indices = {gpu.uuid: gpu.index for gpu in live.gpus()}
    for each in claim.seats:
        if each.made:
            yield DestroyInstance(
                gpu_uuid=each.seat.gpu_uuid,
                gpu_index=indices.get(each.seat.gpu_uuid, -1),
                profile=each.profile,
                profile_id=each.seat.profile_id,
                placement=each.placement,
                mig_uuid=each.mig_uuid,
            )


def take_up(live: Live, run: Run) -> list[Exception]:
    """Go on with a run that no thread works on: its GPU did not answer when it was to end."""
    with live.alone(f"run {run.run}") as mine:
        if not mine or live.flying(run.run):
            return []
        return _finish(live, run) if run.goal is Goal.EACH else take_back(live, run)


def take_back(live: Live, run: Run, until: float | None = None) -> list[Exception]:
    """Undo all of a run and drop the claim that it was to make; what kept it open, and then it stays so."""
    running = Running(live.session, run.run, claim=run.claim or "", until=until)
    live.fly(run.run, _doomed(run))
    try:
        over = roll_back(live.session, running, run.run)
    finally:
        live.land(run.run)
    _tell(live, run, running.messages)
    return [] if over else list(running.errors) or [NodeError(f"run {run.run} is not undone yet")]


def carry(live: Live, steps: Sequence[Step], until: float | None = None) -> Running:
    """Do steps that stand for themselves, such as bringing back what a claim holds; how it went."""
    number = live.ledger.begin_run(steps, goal=Goal.EACH)
    return _go(live, live.ledger.run(number), until)


def _finish(live: Live, run: Run) -> list[Exception]:
    running = _go(live, run)
    _tell(live, run, running.messages)
    return list(running.errors)


def _go(live: Live, run: Run, until: float | None = None) -> Running:
    running = Running(live.session, run.run, goal=Goal.EACH, claim=run.claim or "", until=until)
    live.fly(run.run, _doomed(run))
    try:
        finish_each(live.session, running, run)
    finally:
        live.land(run.run)
    return running


def _doomed(run: Run) -> list[InstanceKey]:
    return [seat_of_step(step) for step in run.steps if isinstance(step, DestroyInstance)]


def _tell(live: Live, run: Run, messages: Iterable[str]) -> None:
    for message in messages:
        live.log.warning("run_left_something", run=run.run, claim=run.claim, text=message)
