# SPDX-License-Identifier: Apache-2.0
"""What the engine asks of kubelet, as interfaces: which pods are there, and which container holds which device ids.

Both answer within their own time limits and raise nothing for an expected failure: an answer that may lack something
says `complete=False` and why, and from such an answer nobody concludes that a pod is gone.
"""

from typing import Protocol

from hamid.core.claims.checkpoint import RememberedList
from hamid.core.pods.pods import HoldingList, PodList


class PodSource(Protocol):
    """Says which pods are on this node."""

    def pods(self) -> PodList:
        """The pods of now; thread-safe."""
        ...


class HoldingSource(Protocol):
    """Says which container holds which device ids."""

    def holdings(self) -> HoldingList:
        """The holdings of now; thread-safe."""
        ...


class NoPods:
    """Nobody knows the pods."""

    def pods(self) -> PodList:
        """An incomplete, empty list."""
        return PodList(pods=(), complete=False, silent=True, problem="no source of pods is configured")


class NoHoldings:
    """Nobody knows who holds what."""

    def holdings(self) -> HoldingList:
        """An incomplete, empty list."""
        return HoldingList(holdings=(), complete=False, problem="no source of device holdings is configured")


class GrantMemory(Protocol):
    """Keeps what was answered to containers, beside our ledger."""

    def remembered(self) -> RememberedList:
        """The answers of now; thread-safe."""
        ...


class NoMemory:
    """Nobody keeps what was answered."""

    def remembered(self) -> RememberedList:
        """An incomplete, empty list."""
        return RememberedList(complete=False, problem="kubelet's checkpoint is not read")
