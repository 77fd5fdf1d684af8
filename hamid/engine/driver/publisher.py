# SPDX-License-Identifier: Apache-2.0
"""Publication of the View: readers take the last one without a lock, and may wait for the next."""

import threading
from collections.abc import Callable, Mapping

from hamid.core.view import View

# Makes the View of now; its arguments are the time of the last whole reading and the notes to carry over.
Build = Callable[[float, Mapping[str, str]], View]


class Publisher:
    """Holds the last View; thread-safe."""

    def __init__(self, build: Build, first: View) -> None:
        self.view = first
        self._build = build
        self._news = threading.Condition()
        self._serial = 0
        self._listeners: list[Callable[[], None]] = []

    def publish(self, observed_at: float | None = None) -> None:
        """Publish the View of now; `observed_at` is the Unix time of a whole reading that has just ended."""
        with self._news:
            at = self.view.observed_at if observed_at is None else observed_at
            self.view = self._build(at, self.view.notes)
            self._serial += 1
            self._news.notify_all()
        for listener in self._listeners:
            listener()

    def annotate(self, **notes: str) -> None:
        """Add facts of the daemon to the View; an empty one is taken out."""
        with self._news:
            self.view = self.view.with_notes(**notes)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after every publication, from any thread; it must not block."""
        self._listeners.append(listener)

    def serial(self) -> int:
        """A number that every publication raises."""
        with self._news:
            return self._serial

    def wait(self, since: int, seconds: float) -> bool:
        """Wait until something was published after `since`; False when nothing was in that time."""
        with self._news:
            return self._news.wait_for(lambda: self._serial != since, max(seconds, 0.0))
