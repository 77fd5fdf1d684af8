# SPDX-License-Identifier: Apache-2.0
"""A lost ledger is written anew from what kubelet remembers and NVML shows, again and again until nothing is in doubt.

The law: until then what was granted goes on, nothing new is granted and nothing is destroyed.
"""

import time
from collections.abc import Callable, Iterator

from hamid.core.claims.adoption import adopt
from hamid.core.claims.claim import instance_at
from hamid.core.config.config import ForeignInstances
from hamid.core.pods.pods import HoldingList, PodList
from hamid.engine.driver.live import Live
from hamid.node.driver import device_nodes
from hamid.node.ports import GrantMemory

_PROBLEM = "ledger"


class Adopter:
    """Works only while the ledger is in doubt; by one thread at a time."""

    def __init__(self, live: Live, memory: GrantMemory, *, clock: Callable[[], float] = time.time) -> None:
        self._live = live
        self._memory = memory
        self._clock = clock

    def run(self, pods: PodList, holdings: HoldingList) -> None:
        """Write down the claims that can be told, and end the doubt when there is none; raises LedgerFailed."""
        live = self._live
        facts = live.ledger.facts()
        if facts.certain or not facts.trusted:
            return
        found = adopt(
            self._memory.remembered(),
            pods,
            holdings,
            live.gpus(),
            facts.claims,
            resource=live.config.resources.count,
            ours=live.config.foreign_instances is not ForeignInstances.KEEP,
            boot_id=live.ledger.boot,
            now=self._clock(),
        )
        for each in found.claims:
            name = live.ledger.adopt_claim(each.owner, each.granted, seats=each.seats, shares=each.shares)
            live.log.info("claim_adopted", claim=name, pod_uid=each.owner.uid)
        doubts = [*found.doubts, *self._open()]
        if not doubts:
            live.ledger.end_adoption(live.ledger.facts().unexplained)
            live.log.info("ledger_explained", claims=len(live.ledger.facts().claims))
        self._tell(doubts)

    def _open(self) -> Iterator[str]:
        """Instances that nobody claims and that somebody has open, though no process computes on them."""
        live = self._live
        gpus = {gpu.uuid: gpu for gpu in live.gpus()}
        for seat in sorted(live.ledger.facts().unexplained):
            gpu = gpus.get(seat.gpu_uuid)
            there = None if gpu is None else instance_at(gpu, seat)
            if gpu is None or there is None or there.holders:
                continue
            numbers = device_nodes.numbers(live.paths, gpu.minor, there.gi_id, there.ci_id)
            held = live.device_holders.of(numbers, strict=not live.view.snapshot.simulated)
            if held:
                yield f"{there.profile}@{seat.start} on GPU {gpu.index}: {held}"

    def _tell(self, doubts: list[str]) -> None:
        live = self._live
        before = live.problems.pop(_PROBLEM, "")
        if doubts:
            live.problems[_PROBLEM] = f"the ledger was lost, and not all is known yet: {'; '.join(doubts[:3])}"
            if live.problems[_PROBLEM] != before:
                live.log.warning("ledger_in_doubt", doubts=doubts)
        live.publish()
