# SPDX-License-Identifier: Apache-2.0
"""Kubelet's lists of held devices and of pods, made safe for use during an Allocate.

While kubelet waits for hamid's answer, its device manager releases its lock. A List of pod-resources frees what ended
pods held, and with it what is being given at that moment: kubelet panics, in GetPreferredAllocation (Kubernetes issue
119560, up to 1.28) or when a container takes over an init container's ids (112936, up to 1.25). Both were seen on
a real 1.20. So hamid does not list while it answers kubelet; the previous list names the holders without our claim.

Kubelet never asks again for a refused pod, but lists it as pending until its own status update has come back from the
API server. The next pod's Allocate comes earlier than that.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from hamid.core.claims.claim import Claim
from hamid.core.claims.which_container import Identified
from hamid.core.pods.pods import HoldingList, PodList
from hamid.node.ports import HoldingSource, PodSource

# Longest wait for a moment without a pending answer; kubelet is then asked anyway.
_PATIENCE_SECONDS = 0.5


class HoldingsGate:
    """A source of holdings that does not ask kubelet while a call is being answered; thread-safe."""

    def __init__(
        self,
        source: HoldingSource,
        claims: Callable[[], tuple[Claim, ...]],
        *,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._source = source
        self._claims = claims
        self._patience = patience_seconds
        self._quiet = threading.Condition()
        self._answering = 0
        self._foreign: HoldingList | None = None

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A block during which kubelet waits for hamid's answer."""
        with self._quiet:
            self._answering += 1
        try:
            yield
        finally:
            with self._quiet:
                self._answering -= 1
                self._quiet.notify_all()

    def holdings(self) -> HoldingList:
        """The current holdings, requested when no answer to kubelet is pending."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._answering, self._patience)
        return self._ask()

    def foreign(self) -> HoldingList:
        """The last listed holdings of ids without a claim; asks kubelet only if there is no list yet."""
        if self._foreign is None:
            self._ask()
        return self._foreign or HoldingList(complete=False)

    def _ask(self) -> HoldingList:
        ours = self._claimed()
        found = self._source.holdings()
        # Exclude ids claimed before and after the call: a claim may begin or end during it.
        ours |= self._claimed()
        others = tuple(each for each in found.holdings if not ours & set(each.device_ids))
        self._foreign = replace(found, holdings=others)
        return found

    def _claimed(self) -> set[str]:
        return {each for claim in self._claims() if claim.owner is not None for each in claim.owner.device_ids}


# A restarted kubelet asks again for a pod whose refusal it could not report.
_KEPT_SECONDS = 60.0


class RefusedPods:
    """A source of pods that marks refused pods; thread-safe."""

    def __init__(self, source: PodSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._guard = threading.Lock()
        self._refused: dict[str, float] = {}

    def pods(self) -> PodList:
        """The current pods."""
        found = self._source.pods()
        with self._guard:
            now = self._clock()
            self._refused = {uid: since for uid, since in self._refused.items() if now - since < _KEPT_SECONDS}
            refused = frozenset(self._refused)
        return replace(found, refused=refused) if refused else found

    def note(self, who: Identified | None, *, granted: bool) -> None:
        """Record the outcome of an Allocate."""
        if who is None or who.pod is None or not who.sure:
            return
        with self._guard:
            self._refused.pop(who.pod.uid, None)
            if not granted:
                self._refused[who.pod.uid] = self._clock()
