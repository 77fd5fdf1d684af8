# SPDX-License-Identifier: Apache-2.0
"""The node as one process holds it for long: the ledger, the driver with a worker per GPU, and the last reading.

The law: readers take the published View and wait for nobody; a GPU that is busy or hangs keeps its last reading and
the others go on.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from msgspec.structs import replace

from hamid.core.claims.claim import InstanceKey, LedgerFacts
from hamid.core.claims.device_ids import advertise
from hamid.core.claims.reserved import Reserved
from hamid.core.config.config import Config, Mode
from hamid.core.errors import DriverHung, DriverMissing, HamiError, NvmlFailed
from hamid.core.hardware.gpu import Gpu, Health, Load
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.view import GpuView, View
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.merging import Merger
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.workers import READING_APART_SECONDS, Worker
from hamid.node.driver import numa, nvml
from hamid.node.driver.device_holders import DeviceHolders
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths

# A reading waits so long for a GPU that is at work; then that GPU keeps what was read last.
PATIENCE_SECONDS = 1.0


class Live:
    """Opened with the ledger held; raises LedgerBusy, LedgerFailed or NotPermitted. The driver may come later."""

    def __init__(self, paths: Paths, config: Config, *, counters: Counters, log: Any) -> None:
        self.paths = paths
        self.config = config
        self.counters = counters
        self.log = log
        self.ledger = Ledger.open(paths)
        self.session = DriverSession(paths, config.driver_timeout_seconds, ledger=self.ledger, on_read=self._take)
        self.device_holders = DeviceHolders()
        self.decision = threading.Lock()
        self.view = View(config=config)
        self.attached = False
        self.restored = False
        self.problems: dict[str, str] = {}
        self.held_ids: frozenset[str] = frozenset()
        self._health: dict[str, str] = {}
        self._pending_modes: dict[str, str] = {}
        self._gpus: dict[int, Gpu] = {}
        self._loads: dict[str, Load] = {}
        self._versions: tuple[str | None, str | None] = (None, None)
        self._numa: dict[str, int] = {}
        self._reading: set[int] = set()
        self._flights: dict[int, frozenset[InstanceKey]] = {}
        self._busy: set[str] = set()
        self._restores: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._merger = Merger()
        self._guard = threading.Lock()
        self._news = threading.Condition()
        self._serial = 0
        self._listeners: list[Callable[[], None]] = []
        self._hurried: list[Callable[[], None]] = []
        self._closed = False

    def close(self) -> None:
        """Give driver and ledger back; whoever still waits for a GPU is told at once. Once is enough."""
        if self._closed:
            return
        self._closed = True
        # Giving the driver back would wait for a reading that hangs, however early in its deadline.
        if self.session.workers.parked or self.is_changing() or self.is_reading():
            self.session.workers.abandon()
        try:
            if self.attached:
                self.session.detach()
        finally:
            self.session.workers.close()
            self.ledger.close()

    # -- reading the node --

    def attach(self) -> None:
        """Reach the driver; raises DriverMissing, NotPermitted, NvmlFailed or DriverHung, and may be tried again."""
        if not self.attached:
            self.session.attach()
            self.attached = True

    def observe(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Read every GPU that has time for it and publish; raises what `attach` raises, and publishes that too."""
        began = time.monotonic()
        try:
            self.attach()
            self._read_all(patience_seconds)
        except HamiError as error:
            self.counters.add("hamid_observe_errors_total", error=type(error).__name__)
            self._lose(error)
            raise
        self.problems.pop("driver", None)
        self.counters.observe("hamid_observe_duration_seconds", time.monotonic() - began)
        self.publish(observed_at=time.time())

    def _lose(self, error: HamiError) -> None:
        """Without a driver nothing is known of the GPUs but what was read last."""
        self.problems["driver"] = f"{error.message}; {error.hint}" if error.hint else error.message
        if isinstance(error, DriverMissing) and self.attached:
            # Instances, and on some GPUs the MIG mode, go with the driver.
            self.attached = self.restored = False
            try:
                self.session.detach()
            except HamiError as failed:
                self.log.info("driver_not_given_back", error=str(failed))
        self.publish()

    def _read_all(self, patience_seconds: float) -> None:
        count = self.session.driver("nvmlDeviceGetCount", nvml.count)
        self._versions = self.session.driver("nvmlSystemGetDriverVersion", nvml.versions)
        with self._guard:
            wanted = [index for index in range(count) if index not in self._reading]
            self._reading.update(wanted)
            for index in [index for index in self._gpus if index >= count]:
                del self._gpus[index]
        tasks = {index: self._reader(index) for index in wanted}
        outcomes = self.session.workers.run(
            tasks, until=time.monotonic() + patience_seconds, apart_seconds=READING_APART_SECONDS
        )
        for index, outcome in outcomes.items():
            if isinstance(outcome.error, HamiError) and not isinstance(outcome.error, DriverHung):
                # The driver as a whole has just answered, so it is this GPU whatever the code says.
                note = outcome.error.message
                self._take(Gpu(index=index, uuid=self.session.uuid_of(index), health=Health.UNREADABLE, note=note))
            elif outcome.error is not None and not isinstance(outcome.error, DriverHung):
                raise outcome.error
            if index in self.session.workers.hung:
                self._reading.discard(index)
        self.session.number(self.gpus())
        self._numa = {
            gpu.uuid: node for gpu in self.gpus() if (node := numa.node_of(self.paths, gpu.pci_bus_id)) is not None
        }

    def _reader(self, index: int) -> Callable[[Worker], Gpu]:
        def task(worker: Worker) -> Gpu:
            try:
                gpu = self.session.read(worker, index)
                self._read_load(worker, gpu)
                return gpu
            finally:
                with self._guard:
                    self._reading.discard(index)

        return task

    def _read_load(self, worker: Worker, gpu: Gpu) -> None:
        """What metrics alone need; without it the GPU is served all the same."""
        self._loads.pop(gpu.uuid, None)
        try:
            if gpu.health is Health.OK:
                self._loads[gpu.uuid] = worker.call("reading its load", nvml.load, gpu.index)
        except NvmlFailed as error:
            self.counters.add("hamid_observe_errors_total", error=type(error).__name__)

    def forget_reading(self, index: int) -> None:
        """The reading that this GPU had begun will not end."""
        with self._guard:
            self._reading.discard(index)

    def _take(self, gpu: Gpu) -> None:
        """Whoever reads a GPU shares what was read; one that lost its name keeps the one that it had."""
        with self._guard:
            before = self._gpus.get(gpu.index)
            if before is not None and gpu.health is not Health.OK and gpu.uuid in {"", before.uuid}:
                gpu = replace(before, health=gpu.health, note=gpu.note)
            self._gpus[gpu.index] = gpu

    def gpus(self) -> tuple[Gpu, ...]:
        """Every GPU as it was last read, as NVML showed it."""
        with self._guard:
            return tuple(self._gpus[index] for index in sorted(self._gpus))

    def reading(self, index: int) -> Gpu | None:
        """One GPU as it was last read."""
        with self._guard:
            return self._gpus.get(index)

    def standing(self, avoid: Iterable[str] = ()) -> Reserved:
        """The node for a decision, which keeps off the GPUs in `avoid`; under the decision's lock."""
        problems = {**self.gpu_problems(), **dict.fromkeys(avoid, "it failed a moment ago")}
        with self._guard:
            doomed = frozenset(seat for seats in self._flights.values() for seat in seats)
        # In this order: what goes is seen as promised or doomed until it is seen to be gone.
        facts = self.ledger.facts()
        gpus = self.gpus()
        return Reserved(
            gpus=gpus, facts=facts, merged=self._merger.merged(gpus, facts), doomed=doomed, problems=problems
        )

    def gpu_problems(self) -> dict[str, str]:
        """Why nothing new may start on a GPU, by uuid: its driver call hangs, or it is sick."""
        hung = {self.session.uuid_of(index): error.message for index, error in self.session.workers.hung.items()}
        with self._guard:
            return {**self._health, **{uuid: f"driver-hung: {text}" for uuid, text in hung.items() if uuid}}

    def set_health(self, gpu_uuid: str, problem: str) -> None:
        """A GPU became sick, or with an empty problem well again."""
        with self._guard:
            self._health.pop(gpu_uuid, None)
            if problem:
                self._health[gpu_uuid] = problem
        self.publish()

    def set_pending(self, gpu_uuid: str, text: str) -> None:
        """What waits until a GPU is idle, or nothing."""
        with self._guard:
            self._pending_modes.pop(gpu_uuid, None)
            if text:
                self._pending_modes[gpu_uuid] = text

    def pending_modes(self) -> dict[str, str]:
        """The GPUs that wait for another mode, by uuid, and why."""
        with self._guard:
            return dict(self._pending_modes)

    # -- changes on their way --

    def fly(self, run: int, doomed: Iterable[InstanceKey] = ()) -> None:
        """A run of this process is on its way; nobody plans with the instances that it will destroy."""
        with self._guard:
            self._flights[run] = frozenset(doomed)

    def land(self, run: int) -> None:
        """A run is over, or stays open for the next reconciliation."""
        with self._guard:
            self._flights.pop(run, None)
        self.publish()

    def is_changing(self) -> bool:
        """True while a run of this process is on its way."""
        with self._guard:
            return bool(self._flights)

    def is_reading(self) -> bool:
        """True while a driver call is on its way."""
        return self.session.workers.busy

    def flying(self, run: int) -> bool:
        """True while a thread of this process works on a run."""
        with self._guard:
            return run in self._flights

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """True for the one thread that may work on this claim or GPU now."""
        with self._guard:
            mine = name not in self._busy
            self._busy.add(name)
        try:
            yield mine
        finally:
            if mine:
                with self._guard:
                    self._busy.discard(name)

    @contextmanager
    def restoring(self, name: str) -> Iterator[None]:
        """One thread at a time, in turn."""
        with self._guard:
            lock = self._restores.setdefault(name, threading.Lock())
        with lock:
            yield

    def serial(self) -> int:
        """A number that every publication raises."""
        with self._news:
            return self._serial

    def wait_for_news(self, since: int, seconds: float) -> bool:
        """Wait until something was published after `since`; False when nothing was in that time."""
        with self._news:
            return self._news.wait_for(lambda: self._serial != since, max(seconds, 0.0))

    # -- publishing --

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after every publication; it must not block."""
        self._listeners.append(listener)

    def publish(self, observed_at: float | None = None) -> None:
        """Make the View of now, from what was read and what the ledger says."""
        with self._news:
            self.view = self._make_view(self.view.observed_at if observed_at is None else observed_at)
            self._serial += 1
            self._news.notify_all()
        for listener in self._listeners:
            listener()

    def listen_for_hurry(self, listener: Callable[[], None]) -> None:
        """Call this, from any thread, when somebody waits for what a reconciliation may give back."""
        self._hurried.append(listener)

    def hurry(self) -> None:
        """Somebody waits for what a reconciliation may give back."""
        for listener in self._hurried:
            listener()

    def annotate(self, **notes: str) -> None:
        """Facts of the daemon for the View."""
        with self._news:
            self.view = self.view.with_notes(**notes)

    def _make_view(self, observed_at: float) -> View:
        facts = self.ledger.facts()
        gpus = self._merger.merged(self.gpus(), facts)
        problems = self.gpu_problems()
        snapshot = Snapshot(
            gpus=gpus,
            simulated=nvml.is_simulated(),
            driver_version=self._versions[0],
            nvml_version=self._versions[1],
            warnings=facts.warnings,
        )
        views = tuple(self._gpu_view(gpu, problems) for gpu in gpus)
        return View(
            snapshot=snapshot,
            gpus=views,
            claims=facts.claims,
            devices=self._devices(views, facts),
            config=self.config,
            ready=self.attached and self.restored,
            problems=tuple(self.problems.values()),
            observed_at=observed_at,
            notes=self.view.notes,
        )

    def _gpu_view(self, gpu: Gpu, problems: dict[str, str]) -> GpuView:
        mode = self.config.mode_of(gpu)
        lost = "" if gpu.health is Health.OK else f"the driver does not serve it: {gpu.note}"
        with self._guard:
            pending = self._pending_modes.get(gpu.uuid, "")
        sick = lost or problems.get(gpu.uuid, "") or ("" if self.attached else self.problems.get("driver", ""))
        closed = ""
        if (mode is Mode.MIG) != gpu.mig_enabled:
            closed = pending or f"MIG mode is {'on' if gpu.mig_enabled else 'off'}, the configuration says {mode}"
        return GpuView(
            gpu=gpu,
            mode=mode,
            served=self.config.serves(gpu),
            healthy=not sick,
            problem=sick or closed,
            pending=pending,
            load=self._loads.get(gpu.uuid, Load()),
        )

    def _devices(self, views: Iterable[GpuView], facts: LedgerFacts) -> Any:
        owned = {each for claim in facts.claims if claim.owner is not None for each in claim.owner.device_ids}
        known = [view for view in views if view.gpu.uuid]
        return advertise(
            [view.gpu.uuid for view in known if view.served],
            split_count=self.config.split_count,
            unhealthy={view.gpu.uuid for view in known if not view.healthy},
            closed={view.gpu.uuid for view in known if view.problem},
            held=owned | self.held_ids,
            known={view.gpu.uuid for view in known},
            numa_nodes=self._numa if self.config.numa_topology else None,
        )
