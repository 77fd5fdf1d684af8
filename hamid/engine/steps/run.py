# SPDX-License-Identifier: Apache-2.0
"""A journaled run of steps: GPUs in parallel, steps of one GPU in turn, and the handling of failures.

Invariant: a run that ends is either done or undone, except for new instances that are in use. If a GPU does not
answer, the run stays open in the journal and recovery continues it. Instances that a run will destroy are unavailable
from its beginning to its end.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from hamid.core.claims.claim import InstanceKey
from hamid.core.claims.journal import Entry, EntryState, Goal, Run, describe, seat_of_step
from hamid.core.errors import DriverHung, GpuLost, HamiError, LedgerFailed, NodeError
from hamid.core.planner.plan import CreateInstance, DestroyInstance, SetMigMode, Step
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.workers import Worker
from hamid.engine.steps.step import StepRunner
from hamid.node.ports import Logger


class Progress(Protocol):
    """Called for every step with `begin`, then `done` or `failed`, and `undone` after an undo. One call at a time."""

    def __call__(self, step: Step, state: str) -> None:
        """Report the state of a step."""


def stays_open(error: BaseException) -> bool:
    """True if the GPU or the ledger did not answer, so that a later try may end the run."""
    return isinstance(error, DriverHung | GpuLost | LedgerFailed) or type(error) is NodeError


class Running:
    """One run in progress, on behalf of `claim`.

    `done`, `undone`, `errors`, the `failed` GPUs (uuids) and `messages` are its results.
    After `until` (on the monotonic clock) no further step begins, and none is waited for.
    """

    def __init__(
        self,
        session: DriverSession,
        run: int,
        *,
        goal: Goal = Goal.ALL,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
        keep_pending: bool = False,
        claim: int | None = None,
        until: float | None = None,
    ) -> None:
        self._session = session
        self._run = run
        self._goal = goal
        self._progress = progress
        self._stop = stop
        self._keep_pending = keep_pending
        self._claim = claim
        self._until = until
        self._halted = threading.Event()
        self._guard = threading.Lock()
        self.stopped = False
        self.done: list[tuple[int, Step]] = []
        self.undone: list[Step] = []
        self.errors: list[Exception] = []
        self.failed: set[str] = set()
        self.messages: dict[str, None] = {}

    def go(self, steps: Iterable[tuple[int, Step]]) -> None:
        """Do the steps (each with its position in the run); errors are collected and halt a run of all or nothing."""
        by_gpu: dict[int, list[tuple[int, Step]]] = defaultdict(list)
        for position, step in steps:
            index = self._session.index_of(step.gpu_uuid)
            if index is None:
                self._fail(step, NodeError(f"{describe(step)}: that GPU does not exist", "hamictl gpu list"))
            else:
                by_gpu[index].append((position, step))
        if not self._halted.is_set():
            self._spread({index: self._doer(index, each) for index, each in by_gpu.items()})

    def take_back(self, entries: Iterable[Entry]) -> None:
        """Undo these entries, the last first, GPUs in parallel."""
        by_gpu: dict[int, list[Entry]] = defaultdict(list)
        for entry in sorted(entries, key=lambda entry: -entry.position):
            index = self._session.index_of(entry.step.gpu_uuid)
            if index is None:
                self.note(f"not undone yet: {describe(entry.step)}: that GPU does not answer")
            elif entry.state is not EntryState.OVER:
                by_gpu[index].append(entry)
        self._spread({index: self._undoer(index, each) for index, each in by_gpu.items()})

    def take_back_all(self) -> None:
        """Undo every step, including steps that are still in progress now."""
        run = self._session.ledger.run(self._run)
        by_gpu: dict[int, str] = {}
        for uuid in dict.fromkeys(step.gpu_uuid for step in run.steps):
            index = self._session.index_of(uuid)
            if index is None:
                self._note_silent(uuid, run)
            else:
                by_gpu[index] = uuid
        self._halted.set()
        self._spread({index: self._taker(index, uuid) for index, uuid in by_gpu.items()})

    def _note_silent(self, uuid: str, run: Run) -> None:
        for entry in run.entries:
            if entry.step.gpu_uuid == uuid and entry.state is not EntryState.OVER:
                self.note(f"not undone yet: {describe(entry.step)}: that GPU does not answer")

    def _taker(self, index: int, uuid: str) -> Callable[[Worker], None]:
        def task(worker: Worker) -> None:
            # Steps of this run that were queued before have ended by now, so the journal has all of them.
            entries = [entry for entry in self._session.ledger.run(self._run).entries if entry.step.gpu_uuid == uuid]
            self._undoer(index, [each for each in reversed(entries) if each.state is not EntryState.OVER])(worker)

        return task

    def note(self, message: str) -> None:
        """Add a message for the end, once."""
        with self._guard:
            self.messages[message] = None

    def _spread(self, tasks: dict[int, Callable[[Worker], None]]) -> None:
        for index, outcome in self._session.workers.run(tasks, until=self._until).items():
            if outcome.error is None:
                continue
            if not isinstance(outcome.error, Exception):
                raise outcome.error
            self._halted.set()
            with self._guard:
                self.errors.append(outcome.error)
                self.failed.add(self._session.uuid_of(index))

    def _doer(self, index: int, steps: Sequence[tuple[int, Step]]) -> Callable[[Worker], None]:
        def task(worker: Worker) -> None:
            for position, step in steps:
                if self._halted.is_set() or self._stopping():
                    return
                actor = self._actor(worker, index, step)
                if not self._do(actor, position, step):
                    return

        return task

    def _do(self, actor: StepRunner, position: int, step: Step) -> bool:
        """Do one step; False if the GPU's other steps cannot follow."""
        self._tell(step, "begin")
        try:
            reached = actor.perform(self._run, position, step, keep_pending=self._keep_pending)
        except Exception as error:  # noqa: BLE001  # the plan is undone after any error
            self._fail(step, error)
            if self._goal is Goal.EACH and isinstance(step, CreateInstance):
                self._clear(actor, position)
            return self._goal is Goal.EACH and not isinstance(step, SetMigMode) and not stays_open(error)
        with self._guard:
            self.done.append((position, step))
        self._tell(step, "done")
        if not reached:
            self.stopped = True
        return reached

    def _clear(self, actor: StepRunner, position: int) -> None:
        """Remove a half-created instance, in a run that continues without it."""
        for entry in self._session.ledger.run(self._run).entries:
            if entry.position == position:
                actor.take_back(entry)

    def _undoer(self, index: int, entries: Sequence[Entry]) -> Callable[[Worker], None]:
        def task(worker: Worker) -> None:
            for entry in entries:
                if self._actor(worker, index, entry.step).take_back(entry):
                    with self._guard:
                        self.undone.append(entry.step)
                    self._tell(entry.step, "undone")

        return task

    def _actor(self, worker: Worker, index: int, step: Step) -> StepRunner:
        restores = self._goal is Goal.EACH
        return StepRunner(self._session, worker, index, step.gpu_uuid, self.note, claim=self._claim, restores=restores)

    def _fail(self, step: Step, error: Exception) -> None:
        with self._guard:
            self.errors.append(error)
            self.failed.add(step.gpu_uuid)
        if self._goal is Goal.ALL:
            self._halted.set()
        self._tell(step, "failed")

    def _stopping(self) -> bool:
        with self._guard:
            self.stopped = self.stopped or self._stop()
        return self.stopped

    def _tell(self, step: Step, state: str) -> None:
        if self._progress is not None:
            with self._guard:
                self._progress(step, state)


def roll_back(session: DriverSession, running: Running, run: int) -> bool:
    """Undo the whole run; True if it is over, False if it stays open because a GPU does not answer."""
    running.take_back_all()
    return close_if_over(session, run, "undone")


def close_if_over(session: DriverSession, run: int, outcome: str) -> bool:
    """End a run without open entries, and delete the claim that it was creating."""
    found = session.ledger.run(run)
    if any(entry.state is not EntryState.OVER for entry in found.entries):
        return False
    session.ledger.end_run(run, outcome, drops=pending_claim(session, found))
    return True


def pending_claim(session: DriverSession, run: Run) -> int | None:
    """The id of the claim that a run was creating for a container and that was not delivered."""
    claim = session.ledger.facts().claim(run.claim)
    return claim.id if claim is not None and claim.pending else None


def finish_each(session: DriverSession, running: Running, run: Run) -> None:
    """Finish a run whose steps are independent, and end it unless a GPU does not answer."""
    begun = {entry.position: entry for entry in run.entries}
    # A creation that was begun may have left half of an instance, which only the journal knows to be ours.
    running.take_back(
        entry for entry in run.entries if entry.state is EntryState.BEGIN and isinstance(entry.step, CreateInstance)
    )
    left = [
        (position, step)
        for position, step in enumerate(run.steps)
        if position not in begun or begun[position].state is EntryState.BEGIN
    ]
    running.go(left)
    if not any(stays_open(error) for error in running.errors):
        # An ending claim is deleted with its last instance; an instance in use keeps it.
        session.ledger.end_run(run.run, "done", drops=None if running.errors else run.claim)


class Runs:
    """Carries runs out and knows which are in progress; thread-safe. `ended` is called after every run."""

    def __init__(self, session: DriverSession, *, ended: Callable[[], None], log: Logger) -> None:
        self._session = session
        self._ended = ended
        self._log = log
        self._guard = threading.Lock()
        self._in_progress: dict[int, frozenset[InstanceKey]] = {}

    def begin(self, run: int, steps: Iterable[Step]) -> None:
        """Mark a run of this process as in progress."""
        doomed = frozenset(seat_of_step(step) for step in steps if isinstance(step, DestroyInstance))
        with self._guard:
            self._in_progress[run] = doomed

    def end(self, run: int) -> None:
        """Mark a run as over, or as open for the next reconciliation."""
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

    def make(self, claim: int, steps: Sequence[Step], until: float) -> Running:
        """Do the steps that create a claim, in a run that has begun and stays in progress; return its results."""
        running = Running(self._session, claim, claim=claim, until=until)
        running.go(enumerate(steps))
        return running

    def carry_out(self, steps: Sequence[Step], until: float | None = None) -> Running:
        """Do steps that are independent of each other, such as restoring a claim's instances; return the results."""
        number = self._session.ledger.begin_run(steps, goal=Goal.EACH)
        return self._go(self._session.ledger.run(number), until)

    def finish(self, run: Run) -> list[Exception]:
        """Finish a run whose steps are independent; return the errors that keep it open."""
        name = self._claim_name(run)
        running = self._go(run)
        self._log_messages(run, name, running.messages)
        return list(running.errors)

    def undo(self, run: Run, until: float | None = None) -> list[Exception]:
        """Undo a run and delete the claim that it was creating; return the errors that keep it open."""
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
        """Continue an open run that no thread works on; return the errors that keep it open."""
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
        """The name of the claim that a run creates or ends. Read it before the run's end deletes the claim."""
        claim = self._session.ledger.facts().claim(run.claim)
        return run.operator_name or None if claim is None else claim.name

    def _log_messages(self, run: Run, claim: str | None, messages: Iterable[str]) -> None:
        for message in messages:
            self._log.warning("run_left_something", run=run.run, claim=claim, text=message)


def messages_of(running: Running) -> list[str]:
    """Messages about what a run did and what it left."""
    return [*(f"done: {describe(step)}" for _, step in running.done), *problems_of(running)]


def problems_of(running: Running) -> list[str]:
    """Messages about what a run left or could not do."""
    return [*running.messages, *map(_words, running.errors)]


def _words(error: Exception) -> str:
    return f"{error.message}; {error.hint}" if isinstance(error, HamiError) and error.hint else str(error)
