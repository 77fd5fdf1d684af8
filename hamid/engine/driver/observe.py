# SPDX-License-Identifier: Apache-2.0
"""observe: the node as it is, as one immutable Snapshot.

Each driver call has a deadline: a GPU that does not answer is marked so, and the others are shown all the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hamid.core.claims.claim import merge
from hamid.core.errors import DriverHung
from hamid.core.hardware.gpu import Gpu, Health
from hamid.core.hardware.snapshot import Snapshot
from hamid.engine.driver.workers import READING_APART_SECONDS, TIMEOUT_SECONDS, Outcome, Worker, Workers
from hamid.node.driver import mutations, nvml
from hamid.node.paths import Paths


def observe(paths: Paths | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> Snapshot:
    """Every GPU with its profiles, instances and clients, and with `paths` what the ledger there says of them.

    Raises DriverMissing, NotPermitted, NvmlFailed or, when the driver as a whole does not answer, DriverHung. A ledger
    that cannot be read is a warning, and every instance then counts as used.
    """
    with _driver(timeout_seconds) as workers:
        snapshot = _read(workers)
    if paths is None:
        return snapshot
    from hamid.node.ledger.reader import read_facts  # noqa: PLC0415  # sqlite costs start-up

    return merge(snapshot, read_facts(paths))


@contextmanager
def _driver(timeout_seconds: float) -> Iterator[Workers]:
    """The driver, initialised within the block; after ^C the block does not wait for its calls."""
    workers = Workers(timeout_seconds)
    try:
        workers.driver("nvmlInit", mutations.start_driver)
        try:
            yield workers
        except (KeyboardInterrupt, SystemExit):
            workers.abandon()
            raise
        finally:
            # While a call hangs, the driver would wait for it at its end.
            if not workers.parked:
                workers.driver("nvmlShutdown", mutations.stop_driver)
    except (KeyboardInterrupt, SystemExit):
        workers.abandon()
        raise
    finally:
        workers.close()


def _read(workers: Workers) -> Snapshot:
    driver_version, nvml_version = workers.driver("nvmlSystemGetDriverVersion", nvml.versions)
    count = workers.driver("nvmlDeviceGetCount", nvml.count)
    found = workers.run({index: _reader(index) for index in range(count)}, apart_seconds=READING_APART_SECONDS)
    return Snapshot(
        gpus=tuple(_gpu(index, found[index]) for index in range(count)),
        simulated=nvml.is_simulated(),
        driver_version=driver_version,
        nvml_version=nvml_version,
    )


def _reader(index: int) -> Callable[[Worker], Gpu]:
    return lambda worker: worker.call("reading it", nvml.gpu, index)


def _gpu(index: int, outcome: Outcome[Gpu]) -> Gpu:
    if isinstance(outcome.error, DriverHung):
        return Gpu(index=index, uuid="", health=Health.UNREADABLE, note=outcome.error.message)
    return outcome.get()
