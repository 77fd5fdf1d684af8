# SPDX-License-Identifier: Apache-2.0
"""The runs of steps that this process carries out, and those that an earlier process left in the journal.

The instances that a run will destroy are not available to anyone from its beginning to its end.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

from hamid.core.claims.claim import InstanceKey
from hamid.core.claims.journal import Goal, Run, describe, seat_of_step
from hamid.core.errors import HamiError, NodeError
from hamid.core.planner.steps import DestroyInstance, Step
from hamid.engine.driver.session import DriverSession
from hamid.engine.steps.run import Running, finish_each, roll_back
from hamid.node.ports import Logger


class Runs:
    """Carries runs out and knows which are in progress; thread-safe. `ended` is called after every run."""

    def __init__(self, session: DriverSession, *, ended: Callable[[], None], log: Logger) -> None:
        self._session = session
        self._ended = ended
        self._log = log
        self._guard = threading.Lock()
        self._in_progress: dict[int, frozenset[InstanceKey]] = {}

    def begin(self, run: int, steps: Iterable[Step]) -> None:
        """A run of this process is in progress."""
        doomed = frozenset(seat_of_step(step) for step in steps if isinstance(step, DestroyInstance))
        with self._guard:
            self._in_progress[run] = doomed

    def end(self, run: int) -> None:
        """A run is over, or stays open for the next reconciliation."""
        with self._guard:
            self._in_progress.pop(run, None)
        self._ended()

    def in_progress(self, run: int) -> bool:
        """True while a thread of this process works on a run."""
        with self._guard:
            return run in self._in_progress

    def any_in_progress(self) -> bool:
        """True while a run of this process is in progress."""
        with self._guard:
            return bool(self._in_progress)

    def doomed(self) -> frozenset[InstanceKey]:
        """The instances that runs in progress will destroy."""
        with self._guard:
            return frozenset(seat for seats in self._in_progress.values() for seat in seats)

    def carry_out(self, steps: Sequence[Step], until: float | None = None) -> Running:
        """Do steps that are independent of each other, such as restoring what a claim holds; how it went."""
        number = self._session.ledger.begin_run(steps, goal=Goal.EACH)
        return self._go(self._session.ledger.run(number), until)

    def finish(self, run: Run) -> list[Exception]:
        """Do what is left of a run whose steps are independent; what kept it open."""
        name = self._claim_name(run)
        running = self._go(run)
        self._log_messages(run, name, running.messages)
        return list(running.errors)

    def undo(self, run: Run, until: float | None = None) -> list[Exception]:
        """Undo all of a run and drop the claim that it was to make; what kept it open, and then it stays so."""
        running = Running(self._session, run.run, claim=run.claim, until=until)
        name = self._claim_name(run)
        self.begin(run.run, run.steps)
        try:
            over = roll_back(self._session, running, run.run)
        finally:
            self.end(run.run)
        self._log_messages(run, name, running.messages)
        return [] if over else list(running.errors) or [NodeError(f"run {run.run} is not undone yet")]

    def take_up(self, run: Run) -> list[Exception]:
        """Go on with an open run that no thread works on; what kept it open."""
        return self.finish(run) if run.goal is Goal.EACH else self.undo(run)

    def _go(self, run: Run, until: float | None = None) -> Running:
        running = Running(self._session, run.run, goal=Goal.EACH, claim=run.claim, until=until)
        self.begin(run.run, run.steps)
        try:
            finish_each(self._session, running, run)
        finally:
            self.end(run.run)
        return running

    def _claim_name(self, run: Run) -> str | None:
        """The name of the claim that a run makes or ends; asked before the run is over, and the claim with it."""
        claim = self._session.ledger.facts().claim(run.claim)
        return run.operator_name or None if claim is None else claim.name

    def _log_messages(self, run: Run, claim: str | None, messages: Iterable[str]) -> None:
        for message in messages:
            self._log.warning("run_left_something", run=run.run, claim=claim, text=message)


def messages_of(running: Running) -> list[str]:
    """What a run did, and what it left, in words."""
    return [*(f"done: {describe(step)}" for _, step in running.done), *problems_of(running)]


def problems_of(running: Running) -> list[str]:
    """What a run left or could not do, in words."""
    return [*running.messages, *map(_words, running.errors)]


def _words(error: Exception) -> str:
    return f"{error.message}; {error.hint}" if isinstance(error, HamiError) and error.hint else str(error)
