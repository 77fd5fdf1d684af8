# SPDX-License-Identifier: Apache-2.0
"""The interfaces that engine and servers receive: a log, and sources of pods and device ids.

The sources answer within their own time limits and raise nothing for an expected failure: an answer that may lack
something says `complete=False` and why; such an answer never proves that a pod is gone.
"""

from typing import Protocol

from hamid.core.claims.checkpoint import RememberedList
from hamid.core.pods.pods import HoldingList, PodList


class Logger(Protocol):
    """Writes events with fields; thread-safe."""

    def debug(self, event: str, **fields: object) -> None:
        """For developers."""
        ...

    def info(self, event: str, **fields: object) -> None:
        """What hamid did."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """What an operator may have to act on."""
        ...

    def error(self, event: str, **fields: object) -> None:
        """What failed."""
        ...

    def exception(self, event: str, **fields: object) -> None:
        """An unexpected exception, with its traceback; called while it is handled."""
        ...


class PodSource(Protocol):
    """Says which pods are on this node."""

    def pods(self) -> PodList:
        """The current pods; thread-safe."""
        ...


class HoldingSource(Protocol):
    """Says which container holds which device ids."""

    def holdings(self) -> HoldingList:
        """The current holdings; thread-safe."""
        ...


class NoPods:
    """Without a source of pods."""

    def pods(self) -> PodList:
        """An incomplete, empty list."""
        return PodList(pods=(), complete=False, silent=True, problem="no source of pods is configured")


class NoHoldings:
    """Without a source of holdings."""

    def holdings(self) -> HoldingList:
        """An incomplete, empty list."""
        return HoldingList(holdings=(), complete=False, problem="no source of device holdings is configured")


class GrantRecords(Protocol):
    """Says what kubelet keeps of our answers to containers."""

    def remembered(self) -> RememberedList:
        """The answers that are kept now; thread-safe."""
        ...


class NoGrantRecords:
    """Without a record of grants."""

    def remembered(self) -> RememberedList:
        """An incomplete, empty list."""
        return RememberedList(complete=False, problem="kubelet's checkpoint is not read")
