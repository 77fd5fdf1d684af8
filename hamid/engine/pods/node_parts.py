# SPDX-License-Identifier: Apache-2.0
"""The parts of a running node, each with one concern, and how they are wired together.

What serves pods takes the parts that it needs in its constructor.
"""

import time
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.config.config import Config
from hamid.core.errors import HamiError
from hamid.core.view import Observation, View, build
from hamid.engine.driver.conditions import ConditionsInForce
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.observer import Observer
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.turns import Turns
from hamid.engine.steps.runs import Runs
from hamid.node.driver import nvml
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths
from hamid.node.ports import Logger


class CurrentConfig:
    """The configuration in force; a reload replaces its value."""

    def __init__(self, value: Config) -> None:
        self.value = value


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
        """Read the node and publish; raises what the driver says when it does not answer, and publishes that too."""
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
        """Give driver and ledger back; a thread that still waits for a GPU gets an error at once."""
        # Giving the driver back would wait for a reading that hangs, however early in its deadline.
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
    publisher = Publisher(_builder(current, ledger, readings, conditions, observer), View(config=config))
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


def _builder(
    config: CurrentConfig, ledger: Ledger, readings: Readings, conditions: ConditionsInForce, observer: Observer
) -> Callable[[float, Mapping[str, str]], View]:
    def make(observed_at: float, notes: Mapping[str, str]) -> View:
        facts = ledger.facts()
        observed = Observation(
            gpus=readings.merged(facts),
            loads=readings.loads(),
            numa_nodes=observer.numa_nodes,
            simulated=nvml.is_simulated(),
            driver_version=observer.versions[0],
            nvml_version=observer.versions[1],
            observed_at=observed_at,
        )
        now = replace(conditions.now, sick=observer.sick())
        return build(observed, facts, config.value, now, held_ids=readings.held_ids, notes=notes)

    return make
