# SPDX-License-Identifier: Apache-2.0
"""Reconciliation: claims follow the pods that exist, and runs that were left open are ended.

Every claim is handled on its own, so that a busy instance or a hanging GPU delays no other one. An answer that may
lack something releases nothing.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from hamid.core.claims.checkpoint import RememberedList
from hamid.core.claims.journal import Run
from hamid.core.errors import HamiError
from hamid.core.pods.pods import PodList
from hamid.engine.pods.adopt import Adopter
from hamid.engine.pods.confirm import Confirmer
from hamid.engine.pods.node_parts import NodeParts
from hamid.engine.pods.reconcile_round import NOT_ASKED, Round
from hamid.engine.pods.release import ClaimEnder, Releaser
from hamid.engine.pods.start import Restorer
from hamid.engine.pods.tasks import Tasks
from hamid.node.driver.device_holders import DeviceHolders
from hamid.node.ports import GrantRecords, HoldingSource, PodSource

# A reconciliation waits so long for the tasks that it began; the rest run beside the next one.
_PATIENCE_SECONDS = 3.0
_MODES_SECONDS = 30.0


class Reconciler:
    """Called every few seconds by one thread at a time."""

    def __init__(
        self,
        parts: NodeParts,
        adopter: Adopter,
        restorer: Restorer,
        ender: ClaimEnder,
        *,
        pods: PodSource,
        holdings: HoldingSource,
        memory: GrantRecords,
        device_holders: DeviceHolders,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._adopter = adopter
        self._restorer = restorer
        self._ender = ender
        self._pods = pods
        self._holdings = holdings
        self._memory = memory
        self._tasks = Tasks(parts.counters, parts.log)
        self._confirmer = Confirmer(parts, clock)
        self._releaser = Releaser(parts, ender, self._tasks, device_holders, clock)
        self._modes_tried = 0.0
        self._obstacles: dict[str, Any] = {}

    def close(self) -> None:
        """Nothing further begins."""
        self._tasks.close()

    def run(self) -> None:
        """One reconciliation; raises the driver's error when the node could not be read, after all the rest."""
        parts, began = self._parts, time.monotonic()
        problem: HamiError | None = None
        for index in parts.observer.revive():
            parts.log.info("gpu_answers_again", gpu_index=index)
        try:
            parts.observe()
        except HamiError as error:
            problem = error
        found = self._ask()
        for name, work in (
            ("open runs", self._take_up_runs),
            ("adoption", partial(self._adopter.run, found.pods, found.holdings)),
            ("confirmation", partial(self._confirmer.run, found)),
            ("release", partial(self._releaser.run, found)),
        ):
            self._tasks.run(name, work)
        if parts.conditions.now.restored and self._modes_are_due(began):
            self._modes_tried = began
            self._tasks.begin("modes", self._set_modes)
        self._tasks.wait(_PATIENCE_SECONDS)
        parts.counters.observe("hamid_reconcile_duration_seconds", time.monotonic() - began)
        if problem is not None:
            parts.counters.add("hamid_reconcile_errors_total", error=type(problem).__name__)
            raise problem

    # -- what kubelet says --

    def _ask(self) -> Round:
        """Ask for pods and holdings; the claims are read first, as Round says."""
        parts = self._parts
        claims = frozenset(
            each.id for each in parts.ledger.facts().claims if each.owner is not None and not each.pending
        )
        pods, holdings = self._pods.pods(), self._holdings.holdings()
        self._note_pods(pods)
        resource = parts.config.value.resources.count
        held = (each for holding in holdings.holdings if holding.resource == resource for each in holding.device_ids)
        parts.readings.take_held(held, complete=holdings.complete)
        return Round(pods=pods, holdings=holdings, remembered=self._remembered(pods), claims=claims)

    def _note_pods(self, pods: PodList) -> None:
        """Without the list of pods little is granted and nothing released: say so before an Allocate fails."""
        problem = "" if pods.complete or pods.silent else f"{pods.problem}; until then no claim ends by it"
        self._parts.publisher.annotate(pods=problem)
        if self._tasks.is_news("pods", problem) and problem:
            self._parts.log.warning("pods_not_known", problem=pods.problem)

    def _remembered(self, pods: PodList) -> RememberedList:
        """Kubelet's checkpoint, where it is needed: for claims of which no list of pods tells."""
        claims = self._parts.ledger.facts().claims
        owners = [claim.owner for claim in claims if claim.owner is not None]
        if not owners or (not pods.silent and all(owner.known and owner.confirmed for owner in owners)):
            return NOT_ASKED
        return self._memory.remembered()

    # -- open runs and modes --

    def _take_up_runs(self) -> None:
        for run in self._parts.ledger.open_runs():
            if not self._parts.runs.in_progress(run.run):
                self._tasks.begin(f"run {run.run}", partial(self._take_up, run))

    def _take_up(self, run: Run) -> None:
        self._tasks.report(self._ender.take_up(run), f"run {run.run}")

    def _modes_are_due(self, now: float) -> bool:
        """True when a GPU waits for its mode, and what prevented it has changed since, or time has passed."""
        waiting = self._parts.conditions.now.pending
        claims = self._parts.ledger.facts().claims
        obstacles = {
            gpu.uuid: (
                len(gpu.instances),
                gpu.clients,
                tuple(claim.name for claim in claims if gpu.uuid in claim.gpu_uuids),
            )
            for gpu in self._parts.readings.gpus()
            if gpu.uuid in waiting
        }
        changed, self._obstacles = obstacles != self._obstacles, obstacles
        return bool(waiting) and (changed or now - self._modes_tried >= _MODES_SECONDS)

    def _set_modes(self) -> None:
        changed = self._restorer.set_modes()
        if changed:
            # On some GPUs instances go with the mode.
            self._parts.observe()
            changed += self._restorer.restore_missing()
        for message in changed:
            self._parts.log.info("mode_changed", text=message)
