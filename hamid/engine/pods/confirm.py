# SPDX-License-Identifier: Apache-2.0
"""Confirmation: a provisional claim gets its pod and container once kubelet says who holds its device ids."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from hamid.core.claims.claim import Claim
from hamid.core.claims.release import confirmed, newest_of
from hamid.engine.driver.publisher import Publisher
from hamid.engine.pods.reconcile_round import NOT_ASKED, Round
from hamid.node.ledger.ledger import Ledger
from hamid.node.ports import Logger

# Kubelet writes its checkpoint shortly after it gets hamid's response.
_SETTLED_SECONDS = 10.0


class Confirmer:
    """Confirms claims. For one thread at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        publisher: Publisher,
        log: Logger,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._log = log
        self._clock = clock
        self._first_seen: dict[int, float] = {}

    def run(self, found: Round) -> None:
        """Confirm every claim whose holder kubelet's answers name."""
        claims = self._ledger.facts().claims
        newest = newest_of(claims)
        self._first_seen = {claim.id: self._first_seen.get(claim.id, self._clock()) for claim in claims}
        changed = [self._confirm(claim, found) for claim in claims if _may_confirm(claim, found, newest)]
        if any(changed):
            self._publisher.publish()

    def _confirm(self, claim: Claim, found: Round) -> bool:
        settled = self._clock() - self._first_seen[claim.id] >= _SETTLED_SECONDS
        if claim.owner is None:
            return False
        remembered = found.remembered if settled else NOT_ASKED
        owner = confirmed(claim.owner, found.pods, found.holdings.holdings, remembered)
        if owner is None or not self._ledger.confirm(claim, owner):
            return False
        name = replace(claim, owner=owner).name
        self._log.info("claim_confirmed", claim=name, was=claim.name, pod_uid=owner.uid)
        return True


def _may_confirm(claim: Claim, found: Round, newest: Mapping[str, int]) -> bool:
    """False for ids that were granted again: kubelet's answer is about the newer claim."""
    if claim.owner is None or not found.covers(claim):
        return False
    return all(newest[each] == claim.id for each in claim.owner.device_ids)
