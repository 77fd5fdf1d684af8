# SPDX-License-Identifier: Apache-2.0
"""One change of the node from lock to unlock: the ledger, the driver and a worker per GPU."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, TypeVar

from hamid.core.claims.claim import LedgerFacts, merge_gpu, seat_of
from hamid.core.errors import NodeError
from hamid.core.hardware.gpu import Gpu, Health
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.eligibility import is_served, not_served
from hamid.engine.driver.workers import READING_APART_SECONDS, TIMEOUT_SECONDS, Worker, Workers
from hamid.node.driver import mutations, nvml
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths

Result = TypeVar("Result")


class DriverSession:
    """A context: raises LedgerBusy, LedgerFailed, NotPermitted, DriverMissing, DriverHung or NvmlFailed on entry.

    A `ledger` that is passed in is not closed here. `on_read` is called with every GPU as NVML shows it.
    """

    def __init__(
        self,
        paths: Paths,
        timeout_seconds: float = TIMEOUT_SECONDS,
        *,
        ledger: Ledger | None = None,
        on_read: Callable[[Gpu], None] = lambda gpu: None,
    ) -> None:
        self.paths = paths
        self.workers = Workers(timeout_seconds)
        self._lent = ledger
        if ledger is not None:
            self.ledger = ledger
        self._on_read = on_read
        self._indices: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.ledger = self._lent or Ledger.open(self.paths)
        try:
            self.attach()
        except BaseException as error:
            self._let_go(error)
            self.workers.close()
            self._close_ledger()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._let_go(error)
        try:
            self.detach()
        finally:
            self.workers.close()
            self._close_ledger()

    def _let_go(self, error: BaseException | None) -> None:
        """After ^C, do not wait for driver calls in progress."""
        if error is not None and not isinstance(error, Exception):
            self.workers.abandon()

    def attach(self) -> None:
        """Initialise the driver, and take down what lies there after a lost ledger."""
        self.driver("nvmlInit", mutations.start_driver)
        self._adopt()

    def detach(self) -> None:
        """Give the driver back; while a call hangs, it would wait for it at its end."""
        if not self.workers.parked:
            self.driver("nvmlShutdown", mutations.stop_driver)

    def _close_ledger(self) -> None:
        if self._lent is None:
            self.ledger.close()

    def observe(self) -> Snapshot:
        """The node with what the ledger says of it; a GPU that does not answer in time is marked so."""
        count = self.driver("nvmlDeviceGetCount", nvml.count)
        driver_version, nvml_version = self.driver("nvmlSystemGetDriverVersion", nvml.versions)
        found = self.workers.run(
            {index: self.reader(index) for index in range(count)}, apart_seconds=READING_APART_SECONDS
        )
        gpus = []
        for index, outcome in found.items():
            if outcome.error is not None and not isinstance(outcome.error, NodeError):
                raise outcome.error
            gpus.append(outcome.result or self._silent(index, str(outcome.error)))
        gpus.sort(key=lambda gpu: gpu.index)
        self.number(gpus)
        return Snapshot(
            gpus=tuple(gpus),
            simulated=nvml.is_simulated(),
            driver_version=driver_version,
            nvml_version=nvml_version,
            warnings=self.ledger.facts().warnings,
        )

    def number(self, gpus: Iterable[Gpu]) -> None:
        """From now on these GPUs are found by their uuids."""
        self._indices = {gpu.uuid: gpu.index for gpu in gpus if gpu.uuid}

    def index_of(self, gpu_uuid: str) -> int | None:
        """The NVML index of a GPU at the last observation; None for one that did not answer or is not there."""
        return self._indices.get(gpu_uuid)

    def uuid_of(self, index: int) -> str:
        """The uuid of the GPU with an NVML index; nothing where none answered there."""
        return next((uuid for uuid, each in self._indices.items() if each == index), "")

    def read(self, worker: Worker, index: int) -> Gpu:
        """One GPU as it is now, on its worker's thread."""
        return merge_gpu(self._read(worker, index), self.ledger.facts())

    def read_healthy(self, worker: Worker, index: int, facts: LedgerFacts | None = None) -> Gpu:
        """One GPU as it is now, as the ledger or these facts see it; raises NodeError where NVML does not tell."""
        gpu = merge_gpu(self._read(worker, index), facts or self.ledger.facts())
        problem = not_served(gpu)
        if problem is not None:
            raise NodeError(f"GPU {index} is {problem.health}: {problem.note}", "hamictl gpu list; reset it or reboot")
        return gpu

    def reader(self, index: int) -> Callable[[Worker], Gpu]:
        """`read` as a task for a worker."""
        return lambda worker: self.read(worker, index)

    def _read(self, worker: Worker, index: int) -> Gpu:
        gpu = worker.call("reading it", nvml.gpu, index)
        self._on_read(gpu)
        return gpu

    def _silent(self, index: int, note: str) -> Gpu:
        return Gpu(index=index, uuid=self.uuid_of(index), health=Health.UNREADABLE, note=note)

    def driver(self, label: str, function: Callable[[], Result]) -> Result:
        """Run a call that concerns no single GPU, under the deadline."""
        return self.workers.driver(label, function)

    def _adopt(self) -> None:
        """After a lost ledger, record every existing instance as unexplained."""
        if self.ledger.facts().trusted:
            return
        snapshot = self.observe()
        if all(is_served(gpu) for gpu in snapshot.gpus):
            self.ledger.adopt(seat_of(gpu, each) for gpu in snapshot.gpus for each in gpu.instances)
