# SPDX-License-Identifier: Apache-2.0
"""What happens before anything is granted: interrupted changes end, MIG modes are set, claims get their instances back.

An instance is created at its recorded placement or not at all, and each one independently of the others.
"""

from collections.abc import Collection

from hamid.core.claims.restore import missing_steps
from hamid.core.planner.eligibility import can_restore
from hamid.engine.pods import share_folders
from hamid.engine.pods.modes import ModeSetter
from hamid.engine.pods.node_parts import NodeParts
from hamid.engine.steps.recover import recover_in
from hamid.engine.steps.runs import messages_of


class Restorer:
    """Restores what claims hold."""

    def __init__(self, parts: NodeParts, modes: ModeSetter) -> None:
        self._parts = parts
        self._modes = modes

    def restore_all(self, over: Collection[str] = ()) -> list[str]:
        """End what was interrupted, set modes, restore claims but those of pods (uids) that are `over`.

        What was done and what failed, in words. Raises HamiError when the ledger or the driver fails as a whole.
        """
        parts = self._parts
        for claim in parts.ledger.facts().claims:
            if claim.pending:
                share_folders.remove(parts.paths, parts.config.value, claim)
        messages = recover_in(parts.session)
        parts.observe()
        messages += self._modes.set_all()
        parts.observe()
        messages += self.restore_missing(over)
        parts.conditions.set_restored()
        parts.publisher.publish()
        return messages

    def restore_missing(self, over: Collection[str] = ()) -> list[str]:
        """Create what claims hold and is missing, but for those of pods (uids) that are `over`; in words."""
        parts = self._parts
        gpus = [gpu for gpu in parts.readings.gpus() if can_restore(gpu)]
        claims = [claim for claim in parts.ledger.facts().claims if not claim.pending]
        held = [claim for claim in claims if claim.owner is None or claim.owner.uid not in over]
        steps = tuple(missing_steps(gpus, held))
        if not steps:
            return []
        messages = messages_of(parts.runs.carry_out(steps))
        parts.observe()
        return messages

    def set_modes(self) -> list[str]:
        """Bring idle GPUs to their configured MIG mode; what was done and what failed, in words."""
        return self._modes.set_all()
