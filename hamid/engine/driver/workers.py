# SPDX-License-Identifier: Apache-2.0
"""One thread per GPU, and a deadline for every driver call.

Invariant: a call that does not return parks its own worker only. If it returns late, its worker ends silently: the
caller has stopped waiting, and the journal tells the next start what was begun.
"""

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from operator import contains
from queue import SimpleQueue
from typing import Generic, TypeVar

from hamid.core.errors import DriverHung

Result = TypeVar("Result")

TIMEOUT_SECONDS = 25.0
# GPUs are read one after the other, unless one is slow: threads that make short calls at the same time cost four times
# as much because they pass the interpreter's lock around (benchmarks/daemon.py).
READING_APART_SECONDS = 0.02
_DRIVER = -1

# Long enough for an idle thread to end; a thread in a driver call is a daemon thread and ends with the process.
_END_SECONDS = 1.0
_ENDING = DriverHung("hamid is shutting down and starts nothing new", "try again after its restart")


class Abandoned(BaseException):  # no error: it ends a worker whose call came back too late
    """The worker was parked while its call lasted."""


class Outcome(Generic[Result]):
    """What a task came to: a result or an error."""

    def __init__(self, result: Result | None = None, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error

    def get(self) -> Result:
        """The result; raises the error."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class Worker:
    """One thread of its own; daemonic, so that a hanging driver never keeps the process from its end."""

    def __init__(self, name: str, timeout_seconds: float, condition: threading.Condition) -> None:
        self.name = name
        self.parked = ""
        self.deadline: float | None = None
        self._label = ""
        self._timeout = timeout_seconds
        self._condition = condition
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, task: Callable[[], None]) -> None:
        """Do this after what was submitted before."""
        with self._condition:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=self.name, daemon=True)
                thread.start()
                # Only now: who ends this worker after ^C joins no thread that never started.
                self._thread = thread
            self._tasks.put(task)

    def end(self) -> None:
        """No more tasks; an idle worker's thread is gone when this returns."""
        if self._thread is not None and not self.parked:
            self._tasks.put(None)
            self._thread.join(_END_SECONDS)

    def call(self, label: str, function: Callable[..., Result], *arguments: object, **options: object) -> Result:
        """One driver call on this worker's own thread, under the deadline."""
        self._enter(label)
        try:
            return function(*arguments, **options)
        finally:
            self._leave()

    def check(self, now: float) -> bool:
        """Park the worker if its call is overdue; under the condition."""
        if self.deadline is not None and now >= self.deadline:
            self.parked = self._label
        return bool(self.parked)

    @property
    def hung(self) -> DriverHung:
        """Why it is parked."""
        return DriverHung(
            f"{self.parked} on {self.name} did not return within {self._timeout:g} s",
            "hamid leaves that GPU alone; see dmesg, reset the GPU when it is idle, then run: hamictl mig repair",
        )

    @property
    def late(self) -> DriverHung:
        """Why the caller stopped waiting for it."""
        doing = f"{self._label} on {self.name}" if self.deadline is not None else f"earlier work on {self.name}"
        return DriverHung(f"{doing} did not end in the remaining time", "the change is being undone; try again")

    @property
    def busy(self) -> bool:
        """True during a driver call, unless the worker is parked."""
        return self.deadline is not None and not self.parked

    @property
    def ended(self) -> bool:
        """True when its thread is no more."""
        return self._thread is None or not self._thread.is_alive()

    def _enter(self, label: str) -> None:
        with self._condition:
            if self.parked:
                raise Abandoned
            self._label, self.deadline = label, time.monotonic() + self._timeout

    def _leave(self) -> None:
        with self._condition:
            self.deadline = None
            if self.parked:
                raise Abandoned

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Abandoned:
                return


class Workers:
    """Workers by GPU index; -1 is the one for the driver as a whole."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._condition = threading.Condition()
        self._workers: dict[int, Worker] = {}
        self._closed = False

    def worker(self, key: int) -> Worker:
        """The worker of a GPU; made when first asked for."""
        with self._condition:
            if key not in self._workers:
                name = f"GPU {key}" if key >= 0 else "the driver"
                self._workers[key] = Worker(name, self._timeout, self._condition)
            return self._workers[key]

    @property
    def parked(self) -> list[Worker]:
        """Workers whose call did not come back."""
        with self._condition:
            return [worker for worker in self._workers.values() if worker.parked]

    @property
    def hung(self) -> dict[int, DriverHung]:
        """The GPUs whose worker is parked, and why."""
        with self._condition:
            return {key: worker.hung for key, worker in self._workers.items() if key >= 0 and worker.parked}

    def revive(self) -> list[int]:
        """Whose late call came back gets a new worker; their keys."""
        with self._condition:
            back = [key for key, worker in self._workers.items() if worker.parked and worker.ended]
            for key in back:
                del self._workers[key]
        return back

    def run(
        self,
        tasks: Mapping[int, Callable[[Worker], Result]],
        *,
        until: float | None = None,
        apart_seconds: float = 0,
    ) -> dict[int, Outcome[Result]]:
        """Run every task on its worker in parallel; return when each has ended or its worker is parked.

        A task begins when the one before has ended or has taken `apart_seconds`.
        After `until` (on the monotonic clock) this does not wait for the rest: they still run, and their outcome here
        is DriverHung.
        """
        outcomes: dict[int, Outcome[Result]] = {}
        workers = {key: self.worker(key) for key in tasks}
        for key, task in tasks.items():
            self._begin(key, workers[key], task, outcomes)
            with self._condition:
                self._condition.wait_for(partial(contains, outcomes, key), apart_seconds)
        with self._condition:
            while waiting := [key for key in tasks if key not in outcomes]:
                # A call that begins later ends later than this wait, so it needs no wake-up.
                now = time.monotonic()
                if until is not None and now >= until:
                    late = {key: Outcome[Result](error=workers[key].late) for key in waiting}
                    return {**outcomes, **late}
                nearest = min(workers[key].deadline or now + self._timeout for key in waiting)
                self._condition.wait(max(min(nearest, until or nearest) - now, 0.001))
                for key in waiting:
                    if key not in outcomes and workers[key].check(time.monotonic()):
                        outcomes[key] = Outcome(error=workers[key].hung)
        return dict(outcomes)

    def _begin(
        self, key: int, worker: Worker, task: Callable[[Worker], Result], outcomes: dict[int, Outcome[Result]]
    ) -> None:
        if self._closed:
            outcomes[key] = Outcome(error=_ENDING)
        elif worker.parked:
            outcomes[key] = Outcome(error=worker.hung)
        else:
            worker.submit(self._task(key, worker, task, outcomes))

    @property
    def busy(self) -> bool:
        """True while any of them is busy."""
        with self._condition:
            return any(worker.busy for worker in self._workers.values())

    def driver(self, label: str, function: Callable[[], Result]) -> Result:
        """A call that concerns no single GPU, under the deadline."""
        task: Callable[[Worker], Result] = lambda worker: worker.call(label, function)  # noqa: E731  # keeps the type
        return self.run({_DRIVER: task})[_DRIVER].get()

    def abandon(self) -> None:
        """Stop waiting: each worker ends after its current call."""
        with self._condition:
            for worker in self._workers.values():
                worker.parked = worker.parked or "an abandoned call"
            self._condition.notify_all()

    def close(self) -> None:
        """End every thread that can end; who asks for something afterwards gets an error."""
        self._closed = True
        for worker in self._workers.values():
            worker.end()

    def _task(
        self,
        key: int,
        worker: Worker,
        task: Callable[[Worker], Result],
        outcomes: dict[int, Outcome[Result]],
    ) -> Callable[[], None]:
        def run() -> None:
            try:
                outcome = Outcome(result=task(worker))
            except Abandoned:
                raise
            except BaseException as error:  # noqa: BLE001  # it is raised where the outcome is asked for
                outcome = Outcome(error=error)
            with self._condition:
                if not worker.parked:
                    outcomes[key] = outcome
                self._condition.notify_all()

        return run
