# SPDX-License-Identifier: Apache-2.0
"""Publication of the View: readers take the last one without a lock, and may wait for the next."""

import threading
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from hamid.core.view import Observation, View, build
from hamid.engine.driver.conditions import ConditionsInForce, CurrentConfig
from hamid.engine.driver.observer import Observer
from hamid.engine.driver.readings import Readings
from hamid.node.driver import nvml
from hamid.node.ledger.ledger import Ledger


class Publisher:
    """Builds the View and holds the last one; thread-safe."""

    def __init__(
        self,
        *,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        conditions: ConditionsInForce,
        observer: Observer,
    ) -> None:
        self.view = View(config=config.value)
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._conditions = conditions
        self._observer = observer
        self._news = threading.Condition()
        self._serial = 0
        self._listeners: list[Callable[[], None]] = []

    def publish(self, observed_at: float | None = None) -> None:
        """Publish the View of now; `observed_at` is the Unix time of a whole reading that has just ended."""
        with self._news:
            at = self.view.observed_at if observed_at is None else observed_at
            self.view = self._build(at, self.view.notes)
            self._serial += 1
            self._news.notify_all()
        for listener in self._listeners:
            listener()

    def _build(self, observed_at: float, notes: Mapping[str, str]) -> View:
        facts, observer = self._ledger.facts(), self._observer
        observed = Observation(
            gpus=self._readings.merged(facts),
            loads=self._readings.loads(),
            numa_nodes=observer.numa_nodes,
            simulated=nvml.is_simulated(),
            driver_version=observer.versions[0],
            nvml_version=observer.versions[1],
            observed_at=observed_at,
        )
        now = replace(self._conditions.now, sick=observer.sick())
        return build(observed, facts, self._config.value, now, held_ids=self._readings.held_ids, notes=notes)

    def annotate(self, **notes: str) -> None:
        """Add facts of the daemon to the View; an empty one is taken out."""
        with self._news:
            self.view = self.view.with_notes(**notes)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after every publication, from any thread; it must not block."""
        self._listeners.append(listener)

    def serial(self) -> int:
        """A number that every publication raises."""
        with self._news:
            return self._serial

    def wait(self, since: int, seconds: float) -> bool:
        """Wait until something was published after `since`; False when nothing was in that time."""
        with self._news:
            return self._news.wait_for(lambda: self._serial != since, max(seconds, 0.0))
