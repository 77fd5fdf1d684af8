# SPDX-License-Identifier: Apache-2.0
"""Who was told no: kubelet never asks for such a pod again, and yet lists it as one that waits.

It goes on doing so until its own verdict has come back to it from the API server, which takes longer than the next
pod takes to ask.
"""

import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from hamid.core.claims.which_container import Identified
from hamid.core.pods.pods import PodList
from hamid.node.ports import PodSource

# A kubelet that restarts asks once more for a pod whose refusal it could not tell anybody.
_KEPT_SECONDS = 60.0


class RefusedPods:
    """A source of pods that marks those that were refused; thread-safe."""

    def __init__(self, source: PodSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._guard = threading.Lock()
        self._refused: dict[str, float] = {}

    def pods(self) -> PodList:
        """The source's pods of now."""
        found = self._source.pods()
        with self._guard:
            now = self._clock()
            self._refused = {uid: since for uid, since in self._refused.items() if now - since < _KEPT_SECONDS}
            refused = frozenset(self._refused)
        return replace(found, refused=refused) if refused else found

    def note(self, who: Identified | None, *, granted: bool) -> None:
        """Somebody has his answer."""
        if who is None or who.pod is None or not who.sure:
            return
        with self._guard:
            self._refused.pop(who.pod.uid, None)
            if not granted:
                self._refused[who.pod.uid] = self._clock()
