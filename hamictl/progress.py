# SPDX-License-Identifier: Apache-2.0
"""While a change runs: one line per step on stderr, and what ^C means."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from hamictl.entry import write_from_handler
from hamictl.render.change import step_text
from hamid.core.planner.plan import Step

# What `signal.signal` returns and takes back.
_SignalHandler = Callable[[int, FrameType | None], object] | int | None


class StepLines:
    """Prints a line for each `(step, state)`: begin, done, undone or failed. Thread-safe: GPUs work in parallel.

    The line for `begin` is printed on a terminal only.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._finished = 0
        self._begun: dict[Step, float] = {}
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()

    def __call__(self, step: Step, state: str) -> None:
        """Report the state of a step."""
        with self._lock:
            if state == "begin":
                self._begun[step] = time.monotonic()
                if self._terminal:
                    sys.stderr.write(f"        {step_text(step)} ...\n")
                return
            seconds = time.monotonic() - self._begun.get(step, time.monotonic())
            self._finished += state == "done"
            sys.stderr.write(f"[{self._finished}/{self._total}] {step_text(step)}: {state} ({seconds:.1f} s)\n")


class FirstInterrupt:
    """Within the block, the first ^C requests a stop after the current step; the second ends the program."""

    def __init__(self) -> None:
        self._asked = False
        self._before: _SignalHandler = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def asked(self) -> bool:
        """True after the first ^C."""
        return self._asked

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        write_from_handler(
            "\nstopping after the current step; press ^C again to exit now (the next hamictl cleans up)\n"
        )
