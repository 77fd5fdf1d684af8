# SPDX-License-Identifier: Apache-2.0
"""Reconciliation: what is promised follows what pods there are; what was left open is ended.

The law: every claim goes its own way, so that a busy instance or a hanging GPU delays nobody; an answer that may lack
something releases nothing.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from msgspec.structs import replace

from hamid.core.claims.checkpoint import RememberedList
from hamid.core.claims.claim import Claim, instance_at
from hamid.core.claims.journal import Run
from hamid.core.claims.release import EndReason, PodEvidence, Verdicts, confirmed, judge, newest_of
from hamid.core.errors import HamiError
from hamid.core.pods.pods import HoldingList, PodList
from hamid.engine.driver.live import Live
from hamid.engine.pods.adopt import Adopter
from hamid.engine.pods.release import end_claim, take_up
from hamid.engine.pods.start import bring_back, set_modes
from hamid.node.driver import device_nodes
from hamid.node.ports import GrantMemory, HoldingSource, PodSource
from hamid.node.system import cgroups

# More than the instances of four GPUs: who waits for a slow one keeps nobody else waiting.
_THREADS = 32
# A reconciliation waits so long for what it began; the rest goes on beside the next one.
_PATIENCE_SECONDS = 3.0
_MOST_SAID = 1000
_MODES_SECONDS = 30.0
_SETTLED_SECONDS = 10.0
NOTHING = RememberedList(complete=False)


class Reconciler:
    """Called every few seconds by one thread at a time."""

    def __init__(
        self,
        live: Live,
        adopter: Adopter,
        *,
        pods: PodSource,
        holdings: HoldingSource,
        memory: GrantMemory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live = live
        self._adopter = adopter
        self._clock = clock
        self._pods = pods
        self._holdings = holdings
        self._memory = memory
        self._pool = ThreadPoolExecutor(_THREADS, "reconcile")
        self._cgroups = cgroups.PodCgroups(live.paths)
        self._verdicts = Verdicts()
        self._seen: dict[str, float] = {}
        self._going: dict[str, Future[None]] = {}
        self._said: dict[str, str] = {}
        self._modes_tried = 0.0
        self._asked_about: set[int] = set()
        self._obstacles: dict[str, Any] = {}

    def close(self) -> None:
        """Nothing further begins."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(self) -> None:
        """One reconciliation; raises the driver's error when the node could not be read, after all the rest."""
        live, began = self._live, time.monotonic()
        problem: HamiError | None = None
        for index in live.session.workers.revive():
            live.forget_reading(index)
            live.log.info("gpu_answers_again", gpu_index=index)
        try:
            live.observe()
        except HamiError as error:
            problem = error
        # Before the questions: an answer says nothing about what was promised while it was on its way.
        self._asked_about = {each.number for each in live.ledger.facts().claims if each.owner and not each.pending}
        pods, holdings = self._pods.pods(), self._holdings.holdings()
        self._note_pods(pods)
        self._note_held(holdings)
        remembered = self._remembered(pods)
        for name, work in (
            ("open runs", self._take_up_all),
            ("adoption", partial(self._adopter.run, pods, holdings)),
            ("confirmation", partial(self._confirm, pods, holdings, remembered)),
            ("release", partial(self._release, pods, holdings, remembered)),
        ):
            self._guarded(name, work)
        if live.restored and self._modes_are_due(began):
            self._modes_tried = began
            self._begin("modes", self._set_modes)
        wait(list(self._going.values()), _PATIENCE_SECONDS)
        live.counters.observe("hamid_reconcile_duration_seconds", time.monotonic() - began)
        if problem is not None:
            live.counters.add("hamid_reconcile_errors_total", error=type(problem).__name__)
            raise problem

    def _begin(self, key: str, work: Callable[[], None]) -> None:
        """On a thread of its own, once at a time."""
        self._going = {name: future for name, future in self._going.items() if not future.done()}
        if key not in self._going:
            self._going[key] = self._pool.submit(self._guarded, key, work)

    def _guarded(self, key: str, work: Callable[[], None]) -> None:
        try:
            work()
        except HamiError as error:
            self._report([error], key)
        except Exception as error:
            self._live.counters.add("hamid_reconcile_errors_total", error=type(error).__name__)
            self._live.log.exception("reconcile_failed", what=key)
            raise

    def _modes_are_due(self, now: float) -> bool:
        """Some GPU waits for its mode, and what stood in the way has changed since, or time has passed."""
        waiting = self._live.pending_modes()
        claims = self._live.ledger.facts().claims
        obstacles = {
            gpu.uuid: (
                len(gpu.instances),
                gpu.clients,
                tuple(claim.name for claim in claims if gpu.uuid in claim.gpu_uuids),
            )
            for gpu in self._live.gpus()
            if gpu.uuid in waiting
        }
        changed, self._obstacles = obstacles != self._obstacles, obstacles
        return bool(waiting) and (changed or now - self._modes_tried >= _MODES_SECONDS)

    def _set_modes(self) -> None:
        changed = set_modes(self._live)
        if changed:
            # On some GPUs instances go with the mode.
            self._live.observe()
            changed += bring_back(self._live)
        for message in changed:
            self._live.log.info("mode_changed", text=message)

    def _take_up_all(self) -> None:
        for run in self._live.ledger.open_runs():
            if not self._live.flying(run.run):
                self._begin(f"run {run.run}", partial(self._take_up, run))

    def _take_up(self, run: Run) -> None:
        self._report(take_up(self._live, run), f"run {run.run}")

    def _report(self, errors: list[Exception], what: str) -> None:
        for error in errors:
            self._live.counters.add("hamid_reconcile_errors_total", error=type(error).__name__)
            if self._is_news(what, str(error)):
                hint = error.hint if isinstance(error, HamiError) else ""
                self._live.log.warning("reconcile_could_not", what=what, error=str(error), hint=hint)

    def _is_news(self, what: str, text: str) -> bool:
        """True when this was not the last that was said of it; the past is forgotten when it grows long."""
        if len(self._said) > _MOST_SAID:
            self._said.clear()
        said, self._said[what] = self._said.get(what), text
        return said != text

    # -- what kubelet says of ids --

    def _remembered(self, pods: PodList) -> RememberedList:
        """Kubelet's checkpoint, where it is needed: for claims of which no list of pods tells."""
        claims = self._live.ledger.facts().claims
        owners = [claim.owner for claim in claims if claim.owner is not None]
        if not owners or (not pods.silent and all(owner.known and owner.confirmed for owner in owners)):
            return NOTHING
        return self._memory.remembered()

    def _note_pods(self, pods: PodList) -> None:
        """Whoever may not read the pods can grant little and release nothing; it is told before somebody asks why."""
        problem = "" if pods.complete or pods.silent else f"{pods.problem}; until then no claim ends by it"
        self._live.annotate(pods=problem)
        if self._is_news("pods", problem) and problem:
            self._live.log.warning("pods_not_known", problem=pods.problem)

    def _note_held(self, holdings: HoldingList) -> None:
        """Held ids stay advertised; a list that may lack some only adds to what is known."""
        live = self._live
        resource = live.config.resources.count
        held = {each for holding in holdings.holdings if holding.resource == resource for each in holding.device_ids}
        live.held_ids = frozenset(held) if holdings.complete else live.held_ids | held

    def _confirm(self, pods: PodList, holdings: HoldingList, remembered: RememberedList) -> None:
        live, changed = self._live, False
        claims = live.ledger.facts().claims
        newest = newest_of(claims)
        self._seen = {claim.name: self._seen.get(claim.name, self._clock()) for claim in claims}
        for claim in claims:
            # Kubelet's word on ids that were given anew is about the newer claim.
            if claim.owner is None or claim.number not in self._asked_about:
                continue
            if any(newest[x] != claim.name for x in claim.owner.device_ids):
                continue
            # Kubelet writes its checkpoint a moment after it has our answer.
            settled = self._clock() - self._seen[claim.name] >= _SETTLED_SECONDS
            owner = confirmed(claim.owner, pods, holdings.holdings, remembered if settled else NOTHING)
            granted = live.ledger.granted(claim.name) if owner is not None else None
            if owner is None or granted is None:
                continue
            with live.alone(claim.name) as mine:
                if mine:
                    uuids = {each.seat: each.mig_uuid for each in claim.seats}
                    name = live.ledger.regrant(claim.name, owner, granted, uuids)
                    live.log.info("claim_confirmed", claim=name, was=claim.name, pod_uid=owner.uid)
                    changed = True
        if changed:
            live.publish()

    # -- whose pod is over --

    def _release(self, pods: PodList, holdings: HoldingList, remembered: RememberedList) -> None:
        live = self._live
        facts = live.ledger.facts()
        if not facts.certain:
            return
        seen = PodEvidence(
            pods=pods, holdings=holdings, remembered=remembered, cgroup_gone=self._cgroup_gone(facts.claims, pods)
        )
        before = self._verdicts
        verdicts = judge(facts.claims, seen, before, now=self._clock(), absent_seconds=live.config.absent_seconds)
        # What is over stays so until it is released; what is missing goes on being counted.
        absent = {name: before.missing[name] for name, why in verdicts.over.items() if why is EndReason.ABSENT}
        self._verdicts = replace(verdicts, missing=dict(verdicts.missing) | absent)
        for name, why in verdicts.over.items():
            claim = facts.claim(name)
            if claim is not None and claim.number in self._asked_about:
                self._begin(name, partial(self._release_one, claim, why))

    def _cgroup_gone(self, claims: Iterable[Claim], pods: PodList) -> dict[str, bool]:
        uids = {claim.owner.uid for claim in claims if claim.owner is not None and claim.owner.known}
        running = {pod.uid for pod in pods.pods if not pod.deleted}
        return self._cgroups.gone(uids, uids - running)

    def _release_one(self, claim: Claim, why: EndReason) -> None:
        live = self._live
        lively = self._lively(claim)
        if lively:
            if self._is_news(claim.name, lively):
                live.log.info("claim_waits", claim=claim.name, why=why.value, text=lively)
            return
        errors = end_claim(live, claim)
        if errors:
            self._report(errors, claim.name)
            return
        live.counters.add("hamid_releases_total", why=why.value)
        uid = claim.owner.uid if claim.owner is not None else ""
        live.log.info("claim_released", claim=claim.name, why=why.value, pod_uid=uid)

    def _lively(self, claim: Claim) -> str:
        """What shows that somebody of the pod may still be there, in words, or nothing."""
        live = self._live
        if claim.owner is not None and claim.owner.known:
            busy = cgroups.busy(live.paths, claim.owner.uid)
            if busy:
                return busy
        gpus = {gpu.uuid: gpu for gpu in live.gpus()}
        numbers: set[int] = set()
        for each in claim.seats:
            gpu = gpus.get(each.seat.gpu_uuid)
            there = None if gpu is None else instance_at(gpu, each.seat)
            if gpu is not None and there is not None:
                if there.holders:
                    return f"{each.profile}@{each.seat.start} is used by {', '.join(map(str, there.holders))}"
                numbers |= device_nodes.numbers(live.paths, gpu.minor, there.gi_id, there.ci_id)
        return live.device_holders.of(numbers, strict=not live.view.snapshot.simulated)
