# SPDX-License-Identifier: Apache-2.0
"""Reconciliation: release claims whose pods are gone, and end open runs.

Every claim is handled on its own, so that a busy instance or a hanging GPU delays no other one. An answer that may
lack something releases nothing.
"""

import time
from collections.abc import Callable
from functools import partial

from hamid.core.claims.journal import Run
from hamid.core.errors import HamiError
from hamid.core.hardware.gpu import Holder
from hamid.engine.driver.conditions import ConditionsInForce
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.observer import Observer
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.pods.adopt import Adopter
from hamid.engine.pods.confirm import Confirmer
from hamid.engine.pods.reconcile_round import Questions
from hamid.engine.pods.release import ClaimEnder, Releaser
from hamid.engine.pods.start import Restorer
from hamid.engine.pods.tasks import Tasks
from hamid.engine.steps.run import Runs
from hamid.node.ledger.ledger import Ledger
from hamid.node.ports import Logger

# Seconds that a reconciliation waits for its tasks; the rest continue during the next one.
_PATIENCE_SECONDS = 3.0
_MODES_SECONDS = 30.0


# Of a GPU that waits for its mode: how many instances it has, who uses it, and the claims on it by name.
_Obstacle = tuple[int, tuple[Holder, ...], tuple[str, ...]]


class Reconciler:
    """Called every few seconds by one thread at a time."""

    def __init__(
        self,
        *,
        adopter: Adopter,
        restorer: Restorer,
        ender: ClaimEnder,
        confirmer: Confirmer,
        releaser: Releaser,
        questions: Questions,
        tasks: Tasks,
        ledger: Ledger,
        readings: Readings,
        conditions: ConditionsInForce,
        observer: Observer,
        publisher: Publisher,
        runs: Runs,
        counters: Counters,
        log: Logger,
        observe: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._readings = readings
        self._conditions = conditions
        self._observer = observer
        self._publisher = publisher
        self._runs = runs
        self._counters = counters
        self._log = log
        self._adopter = adopter
        self._restorer = restorer
        self._ender = ender
        self._confirmer = confirmer
        self._releaser = releaser
        self._questions = questions
        self._tasks = tasks
        self._observe = observe
        self._modes_tried = 0.0
        self._obstacles: dict[str, _Obstacle] = {}

    def close(self) -> None:
        """Start no further task."""
        self._tasks.close()

    def run(self) -> None:
        """Run one reconciliation. If the node cannot be read, raise the driver's error at the end."""
        began = time.monotonic()
        problem: HamiError | None = None
        for index in self._observer.revive():
            self._log.info("gpu_answers_again", gpu_index=index)
        try:
            self._observe()
        except HamiError as error:
            problem = error
        found = self._questions.ask()
        for name, work in (
            ("open runs", self._take_up_runs),
            ("adoption", partial(self._adopter.run, found.pods, found.holdings)),
            ("confirmation", partial(self._confirmer.run, found)),
            ("release", partial(self._releaser.run, found)),
        ):
            self._tasks.run(name, work)
        if self._conditions.now.restored and self._modes_are_due(began):
            self._modes_tried = began
            self._tasks.begin("modes", self._set_modes)
        self._tasks.wait(_PATIENCE_SECONDS)
        self._counters.observe("hamid_reconcile_duration_seconds", time.monotonic() - began)
        if problem is not None:
            self._counters.add("hamid_reconcile_errors_total", error=type(problem).__name__)
            raise problem

    # -- open runs and modes --

    def _take_up_runs(self) -> None:
        for run in self._ledger.open_runs():
            if not self._runs.in_progress(run.run):
                self._tasks.begin(f"run {run.run}", partial(self._take_up, run))

    def _take_up(self, run: Run) -> None:
        self._tasks.report(self._ender.take_up(run), f"run {run.run}")

    def _modes_are_due(self, now: float) -> bool:
        """True when a GPU waits for its mode, and what prevented it has changed since, or time has passed."""
        waiting = self._conditions.now.pending
        claims = self._ledger.facts().claims
        obstacles = {
            gpu.uuid: (
                len(gpu.instances),
                gpu.clients,
                tuple(claim.name for claim in claims if gpu.uuid in claim.gpu_uuids),
            )
            for gpu in self._readings.gpus()
            if gpu.uuid in waiting
        }
        changed, self._obstacles = obstacles != self._obstacles, obstacles
        return bool(waiting) and (changed or now - self._modes_tried >= _MODES_SECONDS)

    def _set_modes(self) -> None:
        changed = self._restorer.set_modes()
        if changed:
            # On some GPUs instances go with the mode.
            self._observe()
            changed += self._restorer.restore_missing()
        for message in changed:
            self._log.info("mode_changed", text=message)
