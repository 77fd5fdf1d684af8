# SPDX-License-Identifier: Apache-2.0
"""The parts of a running node, each with one concern, and their wiring.

The services for pods get the parts that they use in their constructors. Only this module knows all parts.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from hamid.core.claims.which_container import Identify
from hamid.core.config.config import Config
from hamid.core.errors import HamiError
from hamid.engine.driver.conditions import ConditionsInForce, CurrentConfig
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.observer import Observer
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.turns import Turns
from hamid.engine.pods.adopt import Adopter
from hamid.engine.pods.allocate import Allocator, Decider
from hamid.engine.pods.confirm import Confirmer
from hamid.engine.pods.grant import Granting
from hamid.engine.pods.kubelet_lists import HoldingsGate
from hamid.engine.pods.modes import ModeSetter
from hamid.engine.pods.prestart import Prestart
from hamid.engine.pods.reconcile import Reconciler
from hamid.engine.pods.reconcile_round import Questions
from hamid.engine.pods.release import ClaimEnder, Releaser
from hamid.engine.pods.start import Restorer
from hamid.engine.pods.tasks import Tasks
from hamid.engine.steps.run import Runs
from hamid.node.driver.device_holders import DeviceHolders
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths
from hamid.node.ports import GrantRecords, HoldingSource, Logger, PodSource


class NodeParts(Struct, frozen=True, kw_only=True):
    """A running node's parts: its files, configuration and ledger; its driver and what was read; what is published."""

    paths: Paths
    config: CurrentConfig
    ledger: Ledger
    session: DriverSession
    readings: Readings
    conditions: ConditionsInForce
    observer: Observer
    publisher: Publisher
    runs: Runs
    turns: Turns
    counters: Counters
    log: Logger

    def observe(self) -> None:
        """Read the node and publish; if the driver does not answer, publish that and raise its error."""
        try:
            self.observer.observe()
        except HamiError:
            self.publisher.publish()
            raise
        self.publisher.publish(observed_at=time.time())

    def is_busy(self) -> bool:
        """True while a run or a driver call is in progress."""
        return self.runs.any_in_progress() or self.session.workers.busy

    def close(self) -> None:
        """Close driver and ledger; a thread that still waits for a GPU gets an error at once."""
        # Closing the driver would wait for a reading that hangs, even early in its deadline.
        if self.session.workers.parked or self.is_busy():
            self.session.workers.abandon()
        try:
            self.observer.detach()
        finally:
            self.session.workers.close()
            self.ledger.close()


def open_parts(paths: Paths, config: Config, *, counters: Counters, log: Logger) -> NodeParts:
    """Take the ledger's lock and wire the parts; raises LedgerBusy, LedgerFailed or NotPermitted.

    The driver is not reached yet: the first observation does that.
    """
    current = CurrentConfig(config)
    ledger = Ledger.open(paths)
    readings, conditions = Readings(), ConditionsInForce()
    session = DriverSession(paths, config.driver_timeout_seconds, ledger=ledger, on_read=readings.take)
    observer = Observer(paths, session, readings, conditions, counters=counters, log=log)
    publisher = Publisher(config=current, ledger=ledger, readings=readings, conditions=conditions, observer=observer)
    return NodeParts(
        paths=paths,
        config=current,
        ledger=ledger,
        session=session,
        readings=readings,
        conditions=conditions,
        observer=observer,
        publisher=publisher,
        runs=Runs(session, ended=publisher.publish, log=log),
        turns=Turns(),
        counters=counters,
        log=log,
    )


class PodServices(Struct, frozen=True, kw_only=True):
    """The services for the pods of a node."""

    decider: Decider
    allocator: Allocator
    prestart: Prestart
    adopter: Adopter
    modes: ModeSetter
    restorer: Restorer
    reconciler: Reconciler
    holdings: HoldingsGate


class Sources(Struct, frozen=True, kw_only=True):
    """The sources of facts about pods and containers; `clock` measures how long a pod is absent."""

    identify: Identify
    pods: PodSource
    holdings: HoldingSource
    memory: GrantRecords
    clock: Callable[[], float]


def open_services(parts: NodeParts, sources: Sources) -> PodServices:
    """Wire the services for pods."""
    holdings = HoldingsGate(sources.holdings, lambda: parts.ledger.facts().claims)
    granting = Granting(
        paths=parts.paths, ledger=parts.ledger, session=parts.session, readings=parts.readings, log=parts.log
    )
    ender = ClaimEnder(
        paths=parts.paths,
        config=parts.config,
        ledger=parts.ledger,
        readings=parts.readings,
        runs=parts.runs,
        turns=parts.turns,
    )
    decider = _decider(parts, granting, sources.identify)
    modes, device_holders = _modes(parts), DeviceHolders()
    adopter, restorer = _adopter(parts, sources, device_holders), _restorer(parts, modes)
    return PodServices(
        decider=decider,
        allocator=_allocator(parts, decider, granting, ender, pods=sources.pods, holdings=holdings),
        prestart=_prestart(parts, granting),
        adopter=adopter,
        modes=modes,
        restorer=restorer,
        reconciler=_reconciler(
            parts,
            sources,
            adopter=adopter,
            restorer=restorer,
            ender=ender,
            holdings=holdings,
            device_holders=device_holders,
        ),
        holdings=holdings,
    )


def _decider(parts: NodeParts, granting: Granting, identify: Identify) -> Decider:
    return Decider(
        config=parts.config,
        ledger=parts.ledger,
        readings=parts.readings,
        conditions=parts.conditions,
        observer=parts.observer,
        publisher=parts.publisher,
        runs=parts.runs,
        granting=granting,
        identify=identify,
    )


def _allocator(
    parts: NodeParts,
    decider: Decider,
    granting: Granting,
    ender: ClaimEnder,
    *,
    pods: PodSource,
    holdings: HoldingsGate,
) -> Allocator:
    return Allocator(
        decider=decider,
        granting=granting,
        ender=ender,
        pods=pods,
        holdings=holdings,
        config=parts.config,
        ledger=parts.ledger,
        publisher=parts.publisher,
        runs=parts.runs,
        counters=parts.counters,
        log=parts.log,
    )


def _prestart(parts: NodeParts, granting: Granting) -> Prestart:
    return Prestart(
        granting=granting,
        config=parts.config,
        ledger=parts.ledger,
        readings=parts.readings,
        conditions=parts.conditions,
        publisher=parts.publisher,
        runs=parts.runs,
        turns=parts.turns,
        counters=parts.counters,
        log=parts.log,
    )


def _modes(parts: NodeParts) -> ModeSetter:
    return ModeSetter(
        config=parts.config,
        ledger=parts.ledger,
        readings=parts.readings,
        conditions=parts.conditions,
        publisher=parts.publisher,
        runs=parts.runs,
        turns=parts.turns,
    )


def _adopter(parts: NodeParts, sources: Sources, device_holders: DeviceHolders) -> Adopter:
    return Adopter(
        memory=sources.memory,
        device_holders=device_holders,
        paths=parts.paths,
        config=parts.config,
        ledger=parts.ledger,
        readings=parts.readings,
        conditions=parts.conditions,
        publisher=parts.publisher,
        log=parts.log,
    )


def _restorer(parts: NodeParts, modes: ModeSetter) -> Restorer:
    return Restorer(
        modes=modes,
        paths=parts.paths,
        config=parts.config,
        ledger=parts.ledger,
        session=parts.session,
        readings=parts.readings,
        conditions=parts.conditions,
        publisher=parts.publisher,
        runs=parts.runs,
        observe=parts.observe,
    )


def _reconciler(
    parts: NodeParts,
    sources: Sources,
    *,
    adopter: Adopter,
    restorer: Restorer,
    ender: ClaimEnder,
    holdings: HoldingsGate,
    device_holders: DeviceHolders,
) -> Reconciler:
    tasks = Tasks(parts.counters, parts.log)
    confirmer = Confirmer(ledger=parts.ledger, publisher=parts.publisher, log=parts.log, clock=sources.clock)
    questions = _questions(parts, sources, holdings, tasks)
    return Reconciler(
        adopter=adopter,
        restorer=restorer,
        ender=ender,
        confirmer=confirmer,
        releaser=_releaser(parts, sources, ender, tasks, device_holders),
        tasks=tasks,
        questions=questions,
        ledger=parts.ledger,
        readings=parts.readings,
        conditions=parts.conditions,
        observer=parts.observer,
        publisher=parts.publisher,
        runs=parts.runs,
        counters=parts.counters,
        log=parts.log,
        observe=parts.observe,
    )


def _questions(parts: NodeParts, sources: Sources, holdings: HoldingSource, tasks: Tasks) -> Questions:
    return Questions(
        pods=sources.pods,
        holdings=holdings,
        memory=sources.memory,
        tasks=tasks,
        config=parts.config,
        ledger=parts.ledger,
        readings=parts.readings,
        publisher=parts.publisher,
        log=parts.log,
    )


def _releaser(
    parts: NodeParts, sources: Sources, ender: ClaimEnder, tasks: Tasks, device_holders: DeviceHolders
) -> Releaser:
    return Releaser(
        ender=ender,
        tasks=tasks,
        device_holders=device_holders,
        paths=parts.paths,
        config=parts.config,
        ledger=parts.ledger,
        readings=parts.readings,
        publisher=parts.publisher,
        counters=parts.counters,
        log=parts.log,
        clock=sources.clock,
    )
