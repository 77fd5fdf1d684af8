# SPDX-License-Identifier: Apache-2.0
"""The end of a container's claim: destroy what was created for it, then delete the claim.

The claim stays in the ledger until all of its instances are gone, so that after a crash the next process continues.
An instance that a process uses is never destroyed, and keeps its claim.
"""

from collections.abc import Callable, Iterable
from functools import partial

from msgspec.structs import replace

from hamid.core.claims.claim import Claim, instance_at
from hamid.core.claims.journal import Run
from hamid.core.claims.release import EndReason, PodEvidence, PodVerdicts, judge
from hamid.core.errors import NodeError
from hamid.core.pods.pods import PodList
from hamid.engine.driver.conditions import CurrentConfig
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.turns import Turns
from hamid.engine.pods import share_folders
from hamid.engine.pods.reconcile_round import Round
from hamid.engine.pods.tasks import Tasks
from hamid.engine.steps.run import Runs
from hamid.node.driver import device_nodes
from hamid.node.driver.device_holders import DeviceHolders
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths
from hamid.node.ports import Logger
from hamid.node.system import cgroups


class ClaimEnder:
    """Ends claims; thread-safe."""

    def __init__(
        self,
        *,
        paths: Paths,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        runs: Runs,
        turns: Turns,
    ) -> None:
        self._paths = paths
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._runs = runs
        self._turns = turns

    def end(self, claim: Claim) -> list[Exception]:
        """Destroy what was created for a claim and delete the claim; return the errors that prevented it.

        Nothing is done while another thread ends it.
        """
        with self._turns.alone(f"claim {claim.id}") as mine:
            if not mine:
                return [NodeError(f"claim '{claim.name}' is already being ended")]
            share_folders.remove(self._paths, self._config.value, claim)
            indices = {gpu.uuid: gpu.index for gpu in self._readings.gpus()}
            run = self._ledger.begin_ending(claim.id, indices)
            errors = [] if run is None else self.take_up(self._ledger.run(run))
            gone = self._ledger.facts().claim(claim.id) is None
            return [] if gone else errors or [NodeError(f"claim '{claim.name}' is already being ended")]

    def take_up(self, run: Run) -> list[Exception]:
        """Continue an idle open run, such as one whose GPU did not answer; return the errors that keep it open."""
        with self._turns.alone(f"run {run.run}") as mine:
            if not mine or self._runs.in_progress(run.run):
                return []
            return self._runs.take_up(run)


class Releaser:
    """Releases the claims of ended pods, each independently; `run` is for one thread at a time."""

    def __init__(
        self,
        *,
        ender: ClaimEnder,
        tasks: Tasks,
        device_holders: DeviceHolders,
        paths: Paths,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        publisher: Publisher,
        counters: Counters,
        log: Logger,
        clock: Callable[[], float],
    ) -> None:
        self._paths = paths
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._publisher = publisher
        self._counters = counters
        self._log = log
        self._ender = ender
        self._tasks = tasks
        self._device_holders = device_holders
        self._clock = clock
        self._cgroups = cgroups.PodCgroups(paths)
        self._verdicts = PodVerdicts()

    def run(self, found: Round) -> None:
        """Judge every claim, and begin the release of those whose pods ended."""
        facts = self._ledger.facts()
        if not facts.certain:
            return
        seen = PodEvidence(
            pods=found.pods,
            holdings=found.holdings,
            remembered=found.remembered,
            cgroup_gone=self._cgroup_gone(facts.claims, found.pods),
        )
        before, seconds = self._verdicts, self._config.value.absent_seconds
        verdicts = judge(facts.claims, seen, before, now=self._clock(), absent_seconds=seconds)
        # An ended claim stays ended until it is released; for an absent pod the time continues to count.
        absent = {each: before.missing[each] for each, why in verdicts.over.items() if why is EndReason.ABSENT}
        self._verdicts = replace(verdicts, missing=dict(verdicts.missing) | absent)
        for each, why in verdicts.over.items():
            claim = facts.claim(each)
            if claim is not None and found.covers(claim):
                self._tasks.begin(claim.name, partial(self._release, claim, why))

    def _cgroup_gone(self, claims: Iterable[Claim], pods: PodList) -> dict[str, bool]:
        uids = {claim.owner.uid for claim in claims if claim.owner is not None and claim.owner.known}
        running = {pod.uid for pod in pods.pods if not pod.deleted}
        return self._cgroups.gone(uids, uids - running)

    def _release(self, claim: Claim, why: EndReason) -> None:
        alive = self._signs_of_life(claim)
        if alive:
            if self._tasks.is_news(claim.name, alive):
                self._log.info("claim_waits", claim=claim.name, why=why.value, text=alive)
            return
        errors = self._ender.end(claim)
        if errors:
            self._tasks.report(errors, claim.name)
            return
        self._counters.add("hamid_releases_total", why=why.value)
        uid = claim.owner.uid if claim.owner is not None else ""
        self._log.info("claim_released", claim=claim.name, why=why.value, pod_uid=uid)

    def _signs_of_life(self, claim: Claim) -> str:
        """Why a process of the pod may still run; empty if nothing indicates it."""
        if claim.owner is not None and claim.owner.known:
            busy = cgroups.busy(self._paths, claim.owner.uid)
            if busy:
                return busy
        gpus = {gpu.uuid: gpu for gpu in self._readings.gpus()}
        numbers: set[int] = set()
        for each in claim.seats:
            gpu = gpus.get(each.seat.gpu_uuid)
            there = None if gpu is None else instance_at(gpu, each.seat)
            if gpu is not None and there is not None:
                if there.holders:
                    return f"{each.profile}@{each.seat.start} is in use by {', '.join(map(str, there.holders))}"
                numbers |= device_nodes.numbers(self._paths, gpu.minor, there.gi_id, there.ci_id)
        return self._device_holders.of(numbers, strict=not self._publisher.view.snapshot.simulated)
