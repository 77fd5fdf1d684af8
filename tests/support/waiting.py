# SPDX-License-Identifier: Apache-2.0
"""Waiting for events: a test waits for what it needs, and a limit only ends one that would wait for ever."""

import platform
import sys
import threading
import time
from pathlib import Path

LIMIT_SECONDS = 60.0
# Their numbers, from the kernel's tables, as /proc/PID/syscall shows them.
SYSTEM_CALLS = {
    "futex": {"x86_64": "202", "aarch64": "98"},
    "clock_nanosleep": {"x86_64": "230", "aarch64": "115"},
    "pause": {"x86_64": "34", "aarch64": "73"},
    "write": {"x86_64": "1", "aarch64": "64"},
}


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


def is_blocked_in(call, pid="self", thread="*"):
    """True while a thread of the process, or this one, is in a system call of that name."""
    number = SYSTEM_CALLS[call][platform.machine()]
    return any(path.read_text().split()[0] == number for path in Path("/proc").glob(f"{pid}/task/{thread}/syscall"))


def _stack(frame):
    while frame is not None:
        yield frame
        frame = frame.f_back
