# SPDX-License-Identifier: Apache-2.0
"""What a scrape shows: the published View and what was counted, as families of samples. Never asks the driver.

Names and labels without a `hamid_` in front are HAMi's (v2.5 to v2.10), so that its dashboards go on; its older names
are served beside them as `legacy_metrics` says.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from hamid.core.claim_documents import Standing, standing_of
from hamid.core.claims import Claim, instance_at
from hamid.core.config import LegacyMetrics, Mode
from hamid.core.counted import COUNTED, SECONDS, Tally
from hamid.core.gpu import Gpu, Instance
from hamid.core.units import BYTES_PER_MIB, PERCENT
from hamid.core.view import GpuView, View

ZONE: Final = "vGPU"
_LABELS = dict[str, str]
_Value = Callable[[GpuView], float]


class Sample(Struct, frozen=True):
    """One series: a suffix of the family's name, labels, value."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(Struct, frozen=True):
    """A metric with its samples; `kind` is gauge, counter or histogram."""

    name: str
    kind: str
    text: str
    samples: tuple[Sample, ...]


class Facts(Struct, frozen=True, kw_only=True):
    """What the daemon knows beside the View. Times are Unix times; 0 is never."""

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
    used_bytes: Mapping[str, tuple[int, ...]] = {}


def families(view: View, tallies: Sequence[Tally], facts: Facts) -> tuple[Family, ...]:
    """Everything that /metrics serves."""
    node = _Node(view, facts)
    own = (*_daemon(view, facts), *node.health(), *_claims(view), *_counted(tallies))
    legacy = () if view.config.legacy_metrics is LegacyMetrics.OFF else tuple(node.legacy())
    return (*node.hami(), *legacy, *own)


def _gauge(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(name, "gauge", text, tuple(Sample(labels, value) for labels, value in samples))


def _one(name: str, text: str, value: float, **labels: str) -> Family:
    return _gauge(name, text, [(labels, value)])


def _daemon(view: View, facts: Facts) -> Iterator[Family]:
    yield _one("hami_build_info", "The version that runs, as a label", 1, version=facts.version)
    yield _one("hamid_ready", "1 once the driver answered and every promise was restored", view.ready)
    yield _one("hamid_problems", "How many problems the node has as a whole", len(view.problems))
    age = max(facts.now - view.observed_at, 0.0) if view.observed_at else float("inf")
    yield _one("hamid_snapshot_age_seconds", "Time since the node was last read as a whole", age)
    yield _one("hamid_registered", "1 while kubelet knows us", facts.registered)
    since = max(facts.now - facts.registered_at, 0.0) if facts.registered else 0.0
    yield _one("hamid_registration_age_seconds", "Time since the registration that holds; 0 without one", since)
    registrations = (Sample({}, facts.registrations, "_total"),)
    yield Family("hamid_registrations", "counter", "Registrations with kubelet", registrations)
    yield _one("hamid_config_version", "Grows with every configuration put in force", facts.config_version)
    yield _one(
        "hamid_config_problem", "1 while the files cannot be used and the older values hold", facts.config_problem
    )
    yield _one("hamid_config_waiting", "Settings that wait for a new start of hamid", facts.config_waiting)
    yield _one(
        "hamid_library_installed", "1 when containers can get libvgpu", bool(facts.library), version=facts.library
    )


class _Node:
    """The GPUs of a View in HAMi's words."""

    def __init__(self, view: View, facts: Facts) -> None:
        self._view = view
        self._node = facts.node
        self._used = facts.used_bytes
        self._served = [each for each in view.gpus if each.served]
        self._users = {each.gpu.uuid: list(self._on(each.gpu)) for each in view.gpus}

    def _on(self, gpu: Gpu) -> Iterator[tuple[int, int]]:
        """(MiB, percent of cores) of everything that was promised of this GPU; instances have their cores by slices."""
        for claim in self._view.claims:
            yield from ((each.memory_mib, each.sm_percent) for each in claim.shares if each.gpu_uuid == gpu.uuid)
            for seat in claim.seats:
                there = instance_at(gpu, seat.seat) if seat.seat.gpu_uuid == gpu.uuid else None
                if there is not None:
                    yield there.memory_mib, _percent(gpu, there)

    def _labels(self, each: GpuView) -> _LABELS:
        return {
            "node": self._node,
            "device_uuid": each.gpu.uuid,
            "device_index": str(each.gpu.index),
            "device_type": f"NVIDIA-{each.gpu.name}" if each.gpu.name else "NVIDIA",
        }

    def health(self) -> Iterator[Family]:
        """How each GPU is."""
        gpus = self._view.gpus
        yield _gauge(
            "hamid_gpu_healthy",
            "1 when new containers may get this GPU",
            [(self._labels(x), not x.problem) for x in gpus],
        )
        yield _gauge(
            "hamid_gpu_pending",
            "1 while a change waits for this GPU to be idle",
            [(self._labels(x), bool(x.pending)) for x in gpus],
        )

    def hami(self) -> Iterator[Family]:
        """HAMi's names of today."""
        for name, text, _, value in self._shared():
            yield _gauge(name, text, [(self._labels(each), value(each)) for each in self._served])
        yield _gauge(
            "hami_node_gpu_mig_instance_info",
            "Realized MIG instance identity and placement",
            [
                (
                    {
                        "node": self._node,
                        "device_uuid": gpu.uuid,
                        "device_index": str(gpu.index),
                        "mig_uuid": each.mig_uuid or "",
                        "profile": each.profile,
                        "gpu_instance_id": str(each.gi_id),
                        "compute_instance_id": "" if each.ci_id is None else str(each.ci_id),
                        "placement_start": str(each.placement.start),
                        "placement_size": str(each.placement.size),
                    },
                    1,
                )
                for gpu, each in self._instances()
            ],
        )
        yield from self._containers()

    def legacy(self) -> Iterator[Family]:
        """HAMi's names up to v2.8."""
        for _, text, name, value in self._shared():
            yield _gauge(name, text, [(self._old_labels(each.gpu), value(each)) for each in self._served])
        samples: list[tuple[_LABELS, float]] = []
        seen: Counter[tuple[str, str]] = Counter()
        for gpu, each in self._instances():
            number = seen[gpu.uuid, each.profile]
            seen[gpu.uuid, each.profile] += 1
            samples.append(({**self._old_labels(gpu), "migname": f"{each.profile}-{number}"}, each.used))
        yield _gauge("nodeGPUMigInstance", "1 while the MIG instance is in use", samples)

    def _old_labels(self, gpu: Gpu) -> _LABELS:
        return {"nodeid": self._node, "deviceuuid": gpu.uuid, "deviceidx": str(gpu.index), "zone": ZONE}

    def _instances(self) -> Iterator[tuple[Gpu, Instance]]:
        for each in self._view.gpus:
            for instance in sorted(each.gpu.instances, key=lambda x: x.placement.start):
                yield each.gpu, instance

    def _shared(self) -> tuple[tuple[str, str, str, _Value], ...]:
        """(name, text, older name, value of a GPU) of what both generations of names have."""
        return (
            (
                "hami_gpu_memory_limit_bytes",
                "Device memory limit for a certain GPU",
                "GPUDeviceMemoryLimit",
                self._memory,
            ),
            ("hami_gpu_core_limit_ratio", "Device core limit for a certain GPU", "GPUDeviceCoreLimit", self._cores),
            (
                "hami_gpu_memory_allocated_bytes",
                "Device memory allocated for a certain GPU",
                "GPUDeviceMemoryAllocated",
                lambda each: BYTES_PER_MIB * sum(memory for memory, _ in self._users[each.gpu.uuid]),
            ),
            (
                "hami_gpu_shared_count",
                "Number of containers sharing this GPU",
                "GPUDeviceSharedNum",
                lambda each: len(self._users[each.gpu.uuid]),
            ),
            (
                "hami_gpu_core_allocated_ratio",
                "Device core allocated for a certain GPU",
                "GPUDeviceCoreAllocated",
                lambda each: sum(cores for _, cores in self._users[each.gpu.uuid]),
            ),
            (
                "hami_node_gpu_memory_allocated_ratio",
                "Share of a GPU's memory that is allocated, 0 to 1",
                "nodeGPUMemoryPercentage",
                self._memory_ratio,
            ),
        )

    def _memory_ratio(self, each: GpuView) -> float:
        whole = self._memory(each)
        return BYTES_PER_MIB * sum(memory for memory, _ in self._users[each.gpu.uuid]) / whole if whole else 0.0

    def _memory(self, each: GpuView) -> float:
        config = self._view.config
        mib = each.gpu.memory_mib or config.preconfigured_memory_mib
        return mib * BYTES_PER_MIB * (1.0 if each.mode is Mode.MIG else config.memory_scaling)

    def _cores(self, each: GpuView) -> float:
        return PERCENT * (1.0 if each.mode is Mode.MIG else self._view.config.core_scaling)

    def _containers(self) -> Iterator[Family]:
        limits: list[tuple[_LABELS, float]] = []
        used: list[tuple[_LABELS, float]] = []
        migs: list[tuple[_LABELS, float]] = []
        for claim in self._view.claims:
            owner = claim.owner
            if owner is None:
                continue
            who = {"namespace": owner.namespace, "pod": owner.name, "container": owner.container}
            for number, share in enumerate(claim.shares):
                labels = {**who, "vdevice_index": str(number), "device_uuid": share.gpu_uuid}
                limits.append((labels, share.memory_mib * BYTES_PER_MIB))
                used.extend((labels, each) for each in self._used.get(claim.name, ())[number : number + 1])
            for number, (gpu, instance) in enumerate(self._held(claim)):
                labels = {**who, "vdevice_index": str(number), "device_uuid": gpu.uuid}
                migs.append(({**labels, **_mig(instance)}, 1))
        yield _gauge("hami_vgpu_memory_limit_bytes", "vGPU device memory limit in bytes", limits)
        yield _gauge("hami_vgpu_memory_used_bytes", "vGPU device memory usage in bytes", used)
        yield _gauge("hami_mig_device_info", "MIG runtime identity for a container allocation", migs)

    def _held(self, claim: Claim) -> Iterator[tuple[Gpu, Instance]]:
        gpus = {each.gpu.uuid: each.gpu for each in self._view.gpus}
        for each in claim.seats:
            gpu = gpus.get(each.seat.gpu_uuid)
            there = None if gpu is None else instance_at(gpu, each.seat)
            if gpu is not None and there is not None:
                yield gpu, there


def _percent(gpu: Gpu, instance: Instance) -> int:
    slices = {each.profile_id: each.compute_slices for each in gpu.profiles}
    whole = max(slices.values(), default=0)
    return PERCENT * slices.get(instance.profile_id, 0) // whole if whole else 0


def _mig(instance: Instance) -> _LABELS:
    return {
        "mig_uuid": instance.mig_uuid or "",
        "profile": instance.profile,
        "gpu_instance_id": str(instance.gi_id),
        "compute_instance_id": "" if instance.ci_id is None else str(instance.ci_id),
    }


def _claims(view: View) -> Iterator[Family]:
    kinds = Counter(standing_of(claim) for claim in view.claims)
    yield _gauge(
        "hamid_claims",
        "Claims by what is known of who holds them",
        [({"kind": kind.value}, kinds[kind]) for kind in Standing],
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


def _counter(tally: Tally, labels: _LABELS) -> Iterator[Sample]:
    yield Sample(labels, tally.count, "_total")


def _histogram(tally: Tally, labels: _LABELS) -> Iterator[Sample]:
    for bound, count in zip(SECONDS, tally.buckets, strict=True):
        yield Sample({**labels, "le": str(bound)}, count, "_bucket")
    yield Sample({**labels, "le": "+Inf"}, tally.count, "_bucket")
    yield Sample(labels, tally.count, "_count")
    yield Sample(labels, tally.seconds, "_sum")
