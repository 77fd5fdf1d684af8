# SPDX-License-Identifier: Apache-2.0
"""The input of one reconciliation: kubelet's answers."""

from collections.abc import Mapping

from msgspec import Struct

from hamid.core.claims.checkpoint import RememberedList
from hamid.core.claims.claim import Claim
from hamid.core.pods.pods import HoldingList, PodList
from hamid.engine.driver.conditions import CurrentConfig
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.pods.tasks import Tasks
from hamid.node.ledger.ledger import Ledger
from hamid.node.ports import GrantRecords, HoldingSource, Logger, PodSource

NOT_ASKED = RememberedList(complete=False)


class Round(Struct, frozen=True, kw_only=True):
    """The answers of one round, and when each claim (by id) of that time had been granted (Unix time)."""

    pods: PodList
    holdings: HoldingList
    remembered: RememberedList
    claims: Mapping[int, float]

    def covers(self, claim: Claim) -> bool:
        """True if the answers cover this claim: it was granted to its owner before kubelet was asked."""
        return claim.owner is not None and self.claims.get(claim.id) == claim.owner.granted_at


class Questions:
    """Asks kubelet in each round. For one thread at a time."""

    def __init__(
        self,
        *,
        pods: PodSource,
        holdings: HoldingSource,
        memory: GrantRecords,
        tasks: Tasks,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        publisher: Publisher,
        log: Logger,
    ) -> None:
        self._pods = pods
        self._holdings = holdings
        self._memory = memory
        self._tasks = tasks
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._publisher = publisher
        self._log = log

    def ask(self) -> Round:
        """Ask for pods and holdings; the claims are read first, as Round says."""
        granted = [claim for claim in self._ledger.facts().claims if not claim.pending]
        claims = {claim.id: claim.owner.granted_at for claim in granted if claim.owner is not None}
        pods, holdings = self._pods.pods(), self._holdings.holdings()
        self._note_pods(pods)
        resource = self._config.value.resources.count
        held = (each for holding in holdings.holdings if holding.resource == resource for each in holding.device_ids)
        self._readings.take_held(held, complete=holdings.complete)
        return Round(pods=pods, holdings=holdings, remembered=self._remembered(pods), claims=claims)

    def _note_pods(self, pods: PodList) -> None:
        """Report a missing pod list before an Allocate fails: little can be granted and nothing released without it."""
        problem = (
            ""
            if pods.complete or pods.silent
            else f"{pods.problem}; until this is fixed, no claim is released by pod state"
        )
        self._publisher.annotate(pods=problem)
        if self._tasks.is_news("pods", problem) and problem:
            self._log.warning("pods_not_known", problem=pods.problem)

    def _remembered(self, pods: PodList) -> RememberedList:
        """Kubelet's checkpoint, if needed: for claims that no pod list covers."""
        claims = self._ledger.facts().claims
        owners = [claim.owner for claim in claims if claim.owner is not None]
        if not owners or (not pods.silent and all(owner.known and owner.confirmed for owner in owners)):
            return NOT_ASKED
        return self._memory.remembered()
