# SPDX-License-Identifier: Apache-2.0
"""One answer for all who ask at once, and none that is older than its question."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """`now()` is what `ask` says; whoever asks while another question is on its way shares the next one's answer.

    What `ask` raises reaches the one who asked; the others ask again.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._asking = threading.Lock()
        self._last: tuple[float, T] | None = None

    def now(self) -> T:
        """An answer to a question that was put after this call began; thread-safe."""
        wanted_at = time.monotonic()
        with self._asking:
            if self._last is None or self._last[0] < wanted_at:
                began = time.monotonic()
                self._last = (began, self._ask())
            return self._last[1]
