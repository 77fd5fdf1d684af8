# SPDX-License-Identifier: Apache-2.0
"""Waiting for events: a test waits for what it needs, and a limit only ends one that would wait for ever."""

import sys
import threading
import time

LIMIT_SECONDS = 60.0


def until(condition, seconds=LIMIT_SECONDS):
    """Wait for a condition; its value. After so many seconds, however slow the machine is, it will not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError(f"it did not happen within {seconds} s: {condition}")


def is_waited_for(condition: threading.Condition) -> bool:
    """True while a thread waits for this condition."""
    with condition:
        return bool(condition._waiters)  # type: ignore[attr-defined]  # the only place that knows


def inside(function, variable):
    """How many threads are in a call of this function in which that variable has its value already."""
    return sum(
        any(each.f_code is function.__code__ and variable in each.f_locals for each in _stack(frame))
        for frame in sys._current_frames().values()
    )


def _stack(frame):
    while frame is not None:
        yield frame
        frame = frame.f_back
