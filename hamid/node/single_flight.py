# SPDX-License-Identifier: Apache-2.0
"""Single-flight: concurrent callers share one result, and no result is older than the call that gets it."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """`result()` is what `call` returns; callers that come while a call is in flight share the next call's result.

    What `call` raises reaches the caller that made the call; the others call again.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._flight = threading.Lock()
        self._last: tuple[float, T] | None = None

    def result(self) -> T:
        """The result of a call that began after this one; thread-safe."""
        wanted_at = time.monotonic()
        with self._flight:
            if self._last is None or self._last[0] < wanted_at:
                began = time.monotonic()
                self._last = (began, self._call())
            return self._last[1]
