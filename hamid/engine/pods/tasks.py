# SPDX-License-Identifier: Apache-2.0
"""Tasks of the reconciliation: each runs on its own thread, once at a time, and repeated failures are logged once."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from hamid.core.errors import HamiError
from hamid.engine.driver.counters import Counters
from hamid.node.ports import Logger

# More than the instances of four GPUs: a task that waits for a slow GPU delays no other one.
_THREADS = 32
_MAX_REMEMBERED = 1000


class Tasks:
    """Runs tasks by key; `begin` and `finish` are for one thread, the tasks themselves for any."""

    def __init__(self, counters: Counters, log: Logger) -> None:
        self._counters = counters
        self._log = log
        self._pool = ThreadPoolExecutor(_THREADS, "reconcile")
        self._running: dict[str, Future[None]] = {}
        self._reported: dict[str, str] = {}

    def close(self) -> None:
        """Start no further task."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, key: str, work: Callable[[], None]) -> None:
        """Run a task on its own thread, unless a task with this key still runs."""
        self._running = {name: future for name, future in self._running.items() if not future.done()}
        if key not in self._running:
            self._running[key] = self._pool.submit(self.run, key, work)

    def wait(self, seconds: float) -> None:
        """Wait for the running tasks, at most this long."""
        wait(list(self._running.values()), seconds)

    def run(self, key: str, work: Callable[[], None]) -> None:
        """Run a task on this thread; an expected error is reported and does not leave this call."""
        try:
            work()
        except HamiError as error:
            self.report([error], key)
        except Exception as error:
            self._counters.add("hamid_reconcile_errors_total", error=type(error).__name__)
            self._log.exception("reconcile_failed", what=key)
            raise

    def report(self, errors: Iterable[Exception], key: str) -> None:
        """Count errors, and log each one unless it equals the last one of this key."""
        for error in errors:
            self._counters.add("hamid_reconcile_errors_total", error=type(error).__name__)
            if self.is_news(key, str(error)):
                hint = error.hint if isinstance(error, HamiError) else ""
                self._log.warning("reconcile_could_not", what=key, error=str(error), hint=hint)

    def is_news(self, key: str, text: str) -> bool:
        """True when this text differs from the last one of this key; old keys are forgotten when there are many."""
        if len(self._reported) > _MAX_REMEMBERED:
            self._reported.clear()
        before, self._reported[key] = self._reported.get(key), text
        return before != text
