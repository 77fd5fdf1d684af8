# SPDX-License-Identifier: Apache-2.0
"""One thread per GPU, and a deadline for every driver call.

The law: a call that does not come back parks its worker and nobody else's. When it does come back, late, its worker
ends without another word: whoever waited has decided by then, and the journal tells the next start what was begun.
"""

import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Generic, TypeVar

from hamid.core.errors import DriverHung

Result = TypeVar("Result")


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
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def end(self) -> None:
        """No more tasks; an idle worker's thread is gone when this returns."""
        if self._thread is not None and not self.parked:
            self._tasks.put(None)
            self._thread.join()

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
            f"{self.parked} on {self.name} did not come back within {self._timeout:g} s",
            "that GPU is left alone; see dmesg, reset it when nobody uses it, then run hamictl mig repair",
        )

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

    def worker(self, key: int) -> Worker:
        """The worker of a GPU; made when first asked for."""
        if key not in self._workers:
            name = f"GPU {key}" if key >= 0 else "the driver"
            self._workers[key] = Worker(name, self._timeout, self._condition)
        return self._workers[key]

    @property
    def parked(self) -> list[Worker]:
        """Workers whose call did not come back."""
        return [worker for worker in self._workers.values() if worker.parked]

    def run(self, tasks: Mapping[int, Callable[[Worker], Result]]) -> dict[int, Outcome[Result]]:
        """Every task on its worker, at the same time; returns when each has ended or its worker is parked."""
        outcomes: dict[int, Outcome[Result]] = {}
        for key, task in tasks.items():
            worker = self.worker(key)
            if worker.parked:
                outcomes[key] = Outcome(error=worker.hung)
            else:
                worker.submit(self._task(key, worker, task, outcomes))
        with self._condition:
            while waiting := [key for key in tasks if key not in outcomes]:
                # A call that begins later ends later than this wait, so nobody needs to be woken for it.
                now = time.monotonic()
                nearest = min((self._workers[key].deadline or now + self._timeout for key in waiting), default=now)
                self._condition.wait(max(nearest - now, 0.001))
                for key in waiting:
                    if key not in outcomes and self._workers[key].check(time.monotonic()):
                        outcomes[key] = Outcome(error=self._workers[key].hung)
        return dict(outcomes)

    def abandon(self) -> None:
        """Nobody waits any more: each worker stops after the call that it is in."""
        with self._condition:
            for worker in self._workers.values():
                worker.parked = worker.parked or "a call that nobody waits for"

    def close(self) -> None:
        """End every thread that can end."""
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
