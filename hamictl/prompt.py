# SPDX-License-Identifier: Apache-2.0
"""A question on the terminal whose ^C is never lost, at whatever instant it comes."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def agreed(question: str) -> bool:
    """What the person says; an empty line and the end of the input mean no. Raises KeyboardInterrupt for ^C."""
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
    """A line of standard input, once there is one; a signal's handler runs before anything is read."""
    # A read that began just after the signal came would sit in the kernel with the handler still to run.
    while True:
        ready, _, _ = select.select([sys.stdin, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            continue
        return sys.stdin.readline()


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """The descriptor that becomes readable with every signal, whenever it comes."""
    wake, trigger = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(trigger, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(before)
        os.close(wake)
        os.close(trigger)
