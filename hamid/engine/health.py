# SPDX-License-Identifier: Apache-2.0
"""Watches the driver's events on a separate thread and marks sick GPUs."""

import threading
import time
from collections.abc import Callable
from typing import Final

from hamid.core.errors import HamiError
from hamid.core.hardware.health import HealthEvent, HealthRules, Sickness
from hamid.engine.node import Node
from hamid.node.driver.events import HealthWatch
from hamid.node.ports import Logger

_WAIT_MS: Final = 1000
_RETRY_SECONDS: Final = 5.0


class HealthMonitor:
    """Runs until `stop`, which does not wait for the thread: a driver call in it may hang."""

    def __init__(
        self, node: Node, rules: Callable[[], HealthRules], log: Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._node = node
        self._rules = rules
        self._log = log
        self._clock = clock
        self._sick = Sickness()
        self._ended = threading.Event()
        self._problem = ""

    def start(self) -> None:
        """Start listening if health checks are enabled."""
        if self._rules().enabled:
            threading.Thread(target=self._run, name="health", daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except HamiError as error:
                if error.message != self._problem:
                    self._problem = error.message
                    self._log.warning("health_not_watched", error=error.message, hint=error.hint)
                self._ended.wait(_RETRY_SECONDS)

    def _listen(self) -> None:
        """Until the set of GPUs changes."""
        indices = self._indices()
        watch = HealthWatch(indices)
        self._problem = ""
        if watch.silent:
            self._log.info("gpu_without_events", gpu_indices=list(watch.silent))
        try:
            while not self._ended.is_set() and self._indices() == indices:
                event = watch.wait(_WAIT_MS)
                if event is not None:
                    self.handle(event)
                self.recover()
        finally:
            watch.close()

    def _indices(self) -> tuple[int, ...]:
        return tuple(each.gpu.index for each in self._node.view.gpus)

    def handle(self, event: HealthEvent) -> None:
        """Count and log an event; a critical one marks its GPU, or all where it names none, as sick."""
        critical = self._rules().is_critical(event)
        self._node.parts.counters.add("hamid_health_events_total", kind="critical" if critical else "ignored")
        self._log.warning("health_event", gpu=event.gpu_uuid, text=str(event), critical=critical)
        if not critical:
            return
        uuids = [each.gpu.uuid for each in self._node.view.gpus if event.gpu_uuid in {"", each.gpu.uuid}]
        for uuid in uuids:
            self._sick = self._sick.after(uuid, event, self._clock())
            self._node.set_health(uuid, f"{event}: see dmesg; to use the GPU again, reset it and restart hamid")

    def recover(self) -> None:
        """Mark GPUs without events for the configured time as healthy again."""
        well = self._sick.recovered(self._rules(), self._clock())
        self._sick = self._sick.without(well)
        for uuid in well:
            self._node.set_health(uuid, "")
            self._node.parts.counters.add("hamid_health_events_total", kind="recovered")
            self._log.info("gpu_recovered", gpu=uuid)
