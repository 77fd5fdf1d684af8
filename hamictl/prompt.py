# SPDX-License-Identifier: Apache-2.0
"""A yes/no question on the terminal that never loses a ^C."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def agreed(question: str) -> bool:
    """True for yes; an empty line and the end of the input mean no. Raises KeyboardInterrupt for ^C."""
    with _woken_by_signals() as wake:
        while True:
            sys.stderr.write(f"{question} [y/N]: ")
            sys.stderr.flush()
            line = _line(wake)
            answer = line.strip().lower()
            if not line or answer in {"", "n", "no"}:
                return False
            if answer in {"y", "yes"}:
                return True
            sys.stderr.write("please answer yes or no\n")


def _line(wake: int) -> str:
    """Wait for a line of standard input; a signal's handler runs before anything is read."""
    # A blocking read that starts just after a signal arrives would delay its handler until the next line.
    while True:
        ready, _, _ = select.select([sys.stdin, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            continue
        return sys.stdin.readline()


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """A descriptor that becomes readable with every signal."""
    wake, trigger = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(trigger, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(before)
        os.close(wake)
        os.close(trigger)
