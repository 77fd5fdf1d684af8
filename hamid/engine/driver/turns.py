# SPDX-License-Identifier: Apache-2.0
"""Turns: at most one thread works on a claim or a run at a time; thread-safe."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary


class Turns:
    """Names that threads work on."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._busy: set[str] = set()
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """True for the one thread that may work on this name now; the others get False and do not wait."""
        with self._guard:
            mine = name not in self._busy
            self._busy.add(name)
        try:
            yield mine
        finally:
            if mine:
                with self._guard:
                    self._busy.discard(name)

    @contextmanager
    def in_turn(self, name: str) -> Iterator[None]:
        """Wait until no other thread works on this name."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            yield
