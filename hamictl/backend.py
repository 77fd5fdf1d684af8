# SPDX-License-Identifier: Apache-2.0
"""What commands need from a node, whoever answers: this process itself, or later the daemon."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from hamid.core.claims.claim import Claim
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.steps import Step
from hamid.core.planner.templates import TemplateTable
from hamid.core.relayout.saved_plan import ClaimSeat

if TYPE_CHECKING:
    from hamid.engine.steps.apply import ApplyReport, Progress
    from hamid.engine.steps.recover import Finding
    from hamid.engine.steps.restore import RestoreReport


class Backend(Protocol):
    """The node as the commands see it."""

    def snapshot(self) -> Snapshot:
        """The node as it is now."""
        ...

    def templates(self, file: str | None) -> TemplateTable:
        """The template table of `file`, or the one in force on the node."""
        ...

    def apply(
        self,
        steps: Sequence[Step],
        *,
        fingerprint: str,
        claim: str | None,
        seats: Sequence[ClaimSeat],
        keep_pending: bool,
        timeout_seconds: float,
        progress: "Progress",
        stop: Callable[[], bool],
    ) -> "ApplyReport":
        """Carry out a plan, all of it or nothing, and keep its claim."""
        ...

    def release(self, name: str) -> list[str]:
        """End a claim; what was done, in words."""
        ...

    def release_instance(self, mig_uuid: str) -> list[str]:
        """End whatever claim holds one instance, and destroy it if it is ours and idle."""
        ...

    def repair(self, reclaim_idle: Sequence[str]) -> "tuple[list[Finding], Callable[[], list[str]]]":
        """What ledger and node do not agree on, and a function that mends it."""
        ...

    def claims(self) -> tuple[Claim, ...]:
        """What was promised, by name."""
        ...

    def restore_preview(self, snapshot: Snapshot) -> "RestoreReport":
        """What a restore would find; nothing is changed."""
        ...

    def restore(self) -> "RestoreReport":
        """Bring the claims' instances back after a reboot."""
        ...
