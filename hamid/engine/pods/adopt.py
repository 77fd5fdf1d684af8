# SPDX-License-Identifier: Apache-2.0
"""Rebuilds a lost ledger from kubelet's records and NVML, and repeats this until nothing is in doubt.

Invariant: until then existing grants stay valid, nothing new is granted and nothing is destroyed.
"""

import time
from collections.abc import Callable, Iterator

from hamid.core.claims.adoption import adopt
from hamid.core.claims.claim import instance_at
from hamid.core.config.config import ForeignInstances
from hamid.core.pods.pods import HoldingList, PodList
from hamid.engine.driver.conditions import ConditionsInForce, CurrentConfig
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.node.driver import device_nodes
from hamid.node.driver.device_holders import DeviceHolders
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths
from hamid.node.ports import GrantRecords, Logger

_PROBLEM = "ledger"


class Adopter:
    """Works only while the ledger is in doubt. For one thread at a time."""

    def __init__(
        self,
        *,
        memory: GrantRecords,
        device_holders: DeviceHolders,
        paths: Paths,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        conditions: ConditionsInForce,
        publisher: Publisher,
        log: Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._paths = paths
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._conditions = conditions
        self._publisher = publisher
        self._log = log
        self._memory = memory
        self._device_holders = device_holders
        self._clock = clock

    def run(self, pods: PodList, holdings: HoldingList) -> None:
        """Record the claims that are known, and end the adoption if nothing is in doubt; raises LedgerFailed."""
        facts, config = self._ledger.facts(), self._config.value
        if facts.certain or not facts.trusted:
            return
        found = adopt(
            self._memory.remembered(),
            pods,
            holdings,
            self._readings.gpus(),
            facts.claims,
            resource=config.resources.count,
            ours=config.foreign_instances is not ForeignInstances.KEEP,
            boot_id=self._ledger.boot,
            now=self._clock(),
        )
        for each in found.claims:
            claim = self._ledger.adopt_claim(each.owner, each.granted, seats=each.seats, shares=each.shares)
            self._log.info("claim_adopted", claim=claim.name, pod_uid=each.owner.uid)
        doubts = [*found.doubts, *self._open()]
        if not doubts:
            self._ledger.end_adoption(self._ledger.facts().unexplained)
            self._log.info("ledger_explained", claims=len(self._ledger.facts().claims))
        self._tell(doubts)

    def _open(self) -> Iterator[str]:
        """Unclaimed instances whose device files a process has open, although no process computes on them."""
        gpus = {gpu.uuid: gpu for gpu in self._readings.gpus()}
        for seat in sorted(self._ledger.facts().unexplained):
            gpu = gpus.get(seat.gpu_uuid)
            there = None if gpu is None else instance_at(gpu, seat)
            if gpu is None or there is None or there.holders:
                continue
            numbers = device_nodes.numbers(self._paths, gpu.minor, there.gi_id, there.ci_id)
            held = self._device_holders.of(numbers, strict=not self._publisher.view.snapshot.simulated)
            if held:
                yield f"{there.profile}@{seat.start} on GPU {gpu.index}: {held}"

    def _tell(self, doubts: list[str]) -> None:
        problem = f"the ledger was lost and is not fully rebuilt yet: {'; '.join(doubts[:3])}" if doubts else ""
        before = self._conditions.set_problem(_PROBLEM, problem)
        if problem and problem != before:
            self._log.warning("ledger_in_doubt", doubts=doubts)
        self._publisher.publish()
