# SPDX-License-Identifier: Apache-2.0
"""What kubelet holds, asked for at moments that do it no harm.

While kubelet waits for our answer, its device manager has let go of its lock. A List of pod-resources frees what ended
pods held, and with it what is being given at that moment: kubelet panics in GetPreferredAllocation (Kubernetes issue
119560, up to 1.28) and may give ids twice around Allocate. Seen on a real 1.20.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hamid.core.pods import HoldingList
from hamid.node.ports import HoldingSource

# A kubelet that always waits for some answer is asked all the same.
_PATIENCE_SECONDS = 0.5


class Courtesy:
    """A source of holdings that keeps out of the way of calls that are being answered; thread-safe."""

    def __init__(self, source: HoldingSource) -> None:
        self._source = source
        self._quiet = threading.Condition()
        self._answering = 0
        self._last: HoldingList | None = None

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Kubelet waits for us."""
        with self._quiet:
            self._answering += 1
        try:
            yield
        finally:
            with self._quiet:
                self._answering -= 1
                self._quiet.notify_all()

    def holdings(self) -> HoldingList:
        """The holdings of now, asked for once nobody is being answered."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._answering, _PATIENCE_SECONDS)
        return self.at_once()

    def at_once(self) -> HoldingList:
        """The holdings of now, whoever is being answered."""
        self._last = self._source.holdings()
        return self._last

    def recent(self) -> HoldingList:
        """What was heard last, for those who can live with that."""
        return self._last or self.at_once()
