# SPDX-License-Identifier: Apache-2.0
"""Waiting for events: a test waits for what it needs, and a limit only ends one that would wait for ever."""

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
