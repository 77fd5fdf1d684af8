# SPDX-License-Identifier: Apache-2.0
"""Reading the node again and again, for as long as one process runs.

A GPU that is busy or hangs keeps its last reading, and the others are read all the same.
"""

import time
from collections.abc import Callable, Mapping

from hamid.core.errors import DriverHung, DriverMissing, HamiError, NvmlFailed
from hamid.core.hardware.gpu import Gpu, Health
from hamid.core.planner.eligibility import is_served
from hamid.engine.driver.conditions import ConditionsInForce
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.workers import READING_APART_SECONDS, Worker
from hamid.node.driver import numa, nvml
from hamid.node.paths import Paths
from hamid.node.ports import Logger

# How long an observation waits for a GPU that is busy; then that GPU keeps its last reading.
PATIENCE_SECONDS = 1.0


class Observer:
    """Reads every GPU into `readings`, and keeps the condition of the driver."""

    def __init__(
        self,
        paths: Paths,
        session: DriverSession,
        readings: Readings,
        conditions: ConditionsInForce,
        *,
        counters: Counters,
        log: Logger,
    ) -> None:
        self.versions: tuple[str | None, str | None] = (None, None)
        self.numa_nodes: Mapping[str, int] = {}
        self._paths = paths
        self._session = session
        self._readings = readings
        self._conditions = conditions
        self._counters = counters
        self._log = log

    def observe(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Read every GPU that is not busy.

        Raises DriverMissing, NotPermitted, NvmlFailed or DriverHung after it has noted that as the driver's problem;
        may be tried again.
        """
        began = time.monotonic()
        try:
            self._attach()
            self._read_all(patience_seconds)
        except HamiError as error:
            self._counters.add("hamid_observe_errors_total", error=type(error).__name__)
            self._lose(error)
            raise
        self._conditions.set_problem("driver", "")
        self._counters.observe("hamid_observe_duration_seconds", time.monotonic() - began)

    def revive(self) -> list[int]:
        """The indices of GPUs whose driver call had hung and that answer again."""
        revived = self._session.workers.revive()
        for index in revived:
            self._readings.end(index)
        return revived

    def detach(self) -> None:
        """Give the driver back if it was reached."""
        if self._conditions.now.attached:
            self._session.detach()

    def sick(self) -> Mapping[str, str]:
        """Why nothing new may start on a GPU, by uuid: it is unhealthy, or a driver call on it hangs."""
        hung = {self._session.uuid_of(index): error.message for index, error in self._session.workers.hung.items()}
        return {**self._conditions.now.sick, **{uuid: f"driver-hung: {text}" for uuid, text in hung.items() if uuid}}

    def _attach(self) -> None:
        if not self._conditions.now.attached:
            self._session.attach()
            self._conditions.set_attached(attached=True)

    def _lose(self, error: HamiError) -> None:
        """Without a driver only the last readings are known."""
        self._conditions.set_problem("driver", f"{error.message}; {error.hint}" if error.hint else error.message)
        if isinstance(error, DriverMissing) and self._conditions.now.attached:
            # Instances, and on some GPUs the MIG mode, go with the driver.
            self._conditions.set_attached(attached=False)
            try:
                self._session.detach()
            except HamiError as failed:
                self._log.info("driver_not_given_back", error=str(failed))

    def _read_all(self, patience_seconds: float) -> None:
        session = self._session
        count = session.driver("nvmlDeviceGetCount", nvml.count)
        self.versions = session.driver("nvmlSystemGetDriverVersion", nvml.versions)
        outcomes = session.workers.run(
            {index: self._reader(index) for index in self._readings.begin(count)},
            until=time.monotonic() + patience_seconds,
            apart_seconds=READING_APART_SECONDS,
        )
        for index, outcome in outcomes.items():
            if isinstance(outcome.error, HamiError) and not isinstance(outcome.error, DriverHung):
                # The driver as a whole has just answered, so the fault is this GPU's for any error code.
                note = outcome.error.message
                silent = Gpu(index=index, uuid=session.uuid_of(index), health=Health.UNREADABLE, note=note)
                self._readings.take(silent)
            elif outcome.error is not None and not isinstance(outcome.error, DriverHung):
                raise outcome.error
            if index in session.workers.hung:
                self._readings.end(index)
        gpus = self._readings.gpus()
        session.number(gpus)
        nodes = ((gpu.uuid, numa.node_of(self._paths, gpu.pci_bus_id)) for gpu in gpus)
        self.numa_nodes = {uuid: node for uuid, node in nodes if node is not None}

    def _reader(self, index: int) -> Callable[[Worker], Gpu]:
        def task(worker: Worker) -> Gpu:
            try:
                gpu = self._session.read(worker, index)
                self._read_load(worker, gpu)
                return gpu
            finally:
                self._readings.end(index)

        return task

    def _read_load(self, worker: Worker, gpu: Gpu) -> None:
        """Read what metrics alone need; the GPU is served without it all the same."""
        load = None
        try:
            if is_served(gpu):
                load = worker.call("reading its load", nvml.load, gpu.index)
        except NvmlFailed as error:
            self._counters.add("hamid_observe_errors_total", error=type(error).__name__)
        self._readings.take_load(gpu.uuid, load)
