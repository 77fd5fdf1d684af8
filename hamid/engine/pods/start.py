# SPDX-License-Identifier: Apache-2.0
"""The start of a node, before any grant: end interrupted changes, set MIG modes, restore the claims' instances.

An instance is created at its recorded placement or not at all, and each one independently of the others.
"""

from collections.abc import Callable, Collection

from hamid.core.claims.restore import missing_steps
from hamid.core.planner.eligibility import can_restore
from hamid.engine.driver.conditions import ConditionsInForce, CurrentConfig
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.session import DriverSession
from hamid.engine.pods import share_folders
from hamid.engine.pods.modes import ModeSetter
from hamid.engine.steps.recover import recover_in
from hamid.engine.steps.run import Runs, messages_of
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths


class Restorer:
    """Restores the instances of claims."""

    def __init__(
        self,
        *,
        modes: ModeSetter,
        paths: Paths,
        config: CurrentConfig,
        ledger: Ledger,
        session: DriverSession,
        readings: Readings,
        conditions: ConditionsInForce,
        publisher: Publisher,
        runs: Runs,
        observe: Callable[[], None],
    ) -> None:
        self._paths = paths
        self._config = config
        self._ledger = ledger
        self._session = session
        self._readings = readings
        self._conditions = conditions
        self._publisher = publisher
        self._runs = runs
        self._modes = modes
        self._observe = observe

    def restore_all(self, over: Collection[str] = ()) -> list[str]:
        """End interrupted changes, set modes, restore all claims except those of pods (uids) that are `over`.

        Returns messages about results and failures. Raises HamiError if the ledger or the driver fails as a whole.
        """
        for claim in self._ledger.facts().claims:
            if claim.pending:
                share_folders.remove(self._paths, self._config.value, claim)
        messages = recover_in(self._session)
        self._observe()
        messages += self._modes.set_all()
        self._observe()
        messages += self.restore_missing(over)
        self._conditions.set_restored()
        self._publisher.publish()
        return messages

    def restore_missing(self, over: Collection[str] = ()) -> list[str]:
        """Create the missing instances of claims, except those of pods (uids) that are `over`; return messages."""
        gpus = [gpu for gpu in self._readings.gpus() if can_restore(gpu)]
        claims = [claim for claim in self._ledger.facts().claims if not claim.pending]
        held = [claim for claim in claims if claim.owner is None or claim.owner.uid not in over]
        steps = tuple(missing_steps(gpus, held))
        if not steps:
            return []
        messages = messages_of(self._runs.carry_out(steps))
        self._observe()
        return messages

    def set_modes(self) -> list[str]:
        """Switch idle GPUs to their configured MIG mode; return messages about results and failures."""
        return self._modes.set_all()
