# SPDX-License-Identifier: Apache-2.0
"""Metrics of hamid itself: its state, its claims and its counters."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from hamid.core.claims.claim import ClaimStatus, status_of
from hamid.core.library.region import ContainerUse
from hamid.core.metrics.counters import COUNTED, SECONDS, Tally
from hamid.core.metrics.family import Family, Sample, gauge, one
from hamid.core.view import View


class DaemonFacts(Struct, frozen=True, kw_only=True):
    """Facts of the daemon that the View lacks. Times are Unix times; 0 means never."""

    now: float
    version: str
    node: str
    registered: bool = False
    registered_at: float = 0.0
    registrations: int = 0
    config_version: int = 0
    config_problem: bool = False
    config_waiting: int = 0
    library: str = ""
    uses: Mapping[int, ContainerUse] = {}


def own_families(view: View, tallies: Sequence[Tally], facts: DaemonFacts) -> Iterator[Family]:
    """All `hamid_` metrics except those of single GPUs, and the version."""
    yield from _daemon(view, facts)
    yield from _claims(view)
    yield from _counted(tallies)


def _daemon(view: View, facts: DaemonFacts) -> Iterator[Family]:
    yield one("hami_build_info", "The running version, as a label", 1, version=facts.version)
    yield one("hamid_ready", "1 once the driver answered and every claim is restored", view.ready)
    yield one("hamid_problems", "Number of problems that affect the whole node", len(view.problems))
    age = max(facts.now - view.observed_at, 0.0) if view.observed_at else float("inf")
    yield one("hamid_snapshot_age_seconds", "Time since the last complete observation of the node", age)
    yield one("hamid_registered", "1 while hamid is registered with kubelet", facts.registered)
    since = max(facts.now - facts.registered_at, 0.0) if facts.registered else 0.0
    yield one("hamid_registration_age_seconds", "Time since the current registration; 0 without one", since)
    registrations = (Sample({}, facts.registrations, "_total"),)
    yield Family("hamid_registrations", "counter", "Registrations with kubelet", registrations)
    yield one("hamid_config_version", "Increases with every applied configuration", facts.config_version)
    yield one(
        "hamid_config_problem",
        "1 while the files are invalid; the previous values stay in force",
        facts.config_problem,
    )
    yield one("hamid_config_waiting", "Settings that wait for a restart of hamid", facts.config_waiting)
    yield one(
        "hamid_library_installed",
        "1 when libvgpu is available for containers",
        bool(facts.library),
        version=facts.library,
    )


def _claims(view: View) -> Iterator[Family]:
    kinds = Counter(status_of(claim) for claim in view.claims)
    yield gauge(
        "hamid_claims",
        "Claims by the status of their holder",
        [({"kind": kind.value}, kinds[kind]) for kind in ClaimStatus],
    )


def _counted(tallies: Sequence[Tally]) -> Iterator[Family]:
    by_name: dict[str, list[Tally]] = {name: [] for name in COUNTED}
    for tally in tallies:
        by_name[tally.name].append(tally)
    for name, counted in COUNTED.items():
        samples = [
            each
            for tally in by_name[name]
            for each in (_histogram if counted.timed else _counter)(
                tally, dict(zip(counted.labels, tally.labels, strict=True))
            )
        ]
        kind = "histogram" if counted.timed else "counter"
        yield Family(name.removesuffix("_total"), kind, counted.text, tuple(samples))


def _counter(tally: Tally, labels: dict[str, str]) -> Iterator[Sample]:
    yield Sample(labels, tally.count, "_total")


def _histogram(tally: Tally, labels: dict[str, str]) -> Iterator[Sample]:
    for bound, count in zip(SECONDS, tally.buckets, strict=True):
        yield Sample({**labels, "le": str(bound)}, count, "_bucket")
    yield Sample({**labels, "le": "+Inf"}, tally.count, "_bucket")
    yield Sample(labels, tally.count, "_count")
    yield Sample(labels, tally.seconds, "_sum")
