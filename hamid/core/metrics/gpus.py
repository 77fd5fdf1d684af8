# SPDX-License-Identifier: Apache-2.0
"""All metrics, from the published View and the counters, as families of samples. Never calls the driver.

Names and labels without the prefix `hamid_` are HAMi's (v2.5 to v2.10), so that its dashboards keep working;
`legacy_metrics` controls whether its older names are served too.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Final

from hamid.core.claims.claim import Claim, PodOwner, seat_of
from hamid.core.config.config import LegacyMetrics, Mode
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.metrics.containers import ContainerHoldings, container_families, old_container_families
from hamid.core.metrics.counters import Tally
from hamid.core.metrics.daemon import DaemonFacts, own_families
from hamid.core.metrics.family import Family, gauge
from hamid.core.units import BYTES_PER_MIB, PERCENT
from hamid.core.view import GpuView, View

ZONE: Final = "vGPU"
# HAMi's figures for whole GPUs, with all their users: name, text, field of Load.
_HOST: Final = (
    ("hami_host_gpu_memory_used_bytes", "GPU device memory usage in bytes", "memory_used_bytes"),
    ("hami_host_gpu_utilization_ratio", "GPU core utilization, 0 to 100", "utilization_percent"),
    (
        "hami_host_gpu_memory_controller_utilization_ratio",
        "GPU memory controller utilization, 0 to 100",
        "memory_controller_percent",
    ),
)
_LABELS = dict[str, str]
_Value = Callable[[GpuView], float]


def families(view: View, tallies: Sequence[Tally], facts: DaemonFacts) -> tuple[Family, ...]:
    """Everything that /metrics serves."""
    node = _GpuFamilies(view, facts)
    own = (*own_families(view, tallies, facts), *node.health())
    legacy = () if view.config.legacy_metrics is LegacyMetrics.OFF else tuple(node.legacy())
    return (*node.hami(), *legacy, *own)


class _GpuFamilies:
    """GPU metrics of a View with HAMi's names."""

    def __init__(self, view: View, facts: DaemonFacts) -> None:
        self._view = view
        self._node = facts.node
        self._facts = facts
        self._served = [each for each in view.gpus if each.served]
        self._there = {seat_of(gpu, each): (gpu, each) for gpu, each in self._instances()}
        self._users: dict[str, list[tuple[int, int]]] = {each.gpu.uuid: [] for each in view.gpus}
        for uuid, memory_mib, percent in self._promised():
            if uuid in self._users:
                self._users[uuid].append((memory_mib, percent))

    def _promised(self) -> Iterator[tuple[str, int, int]]:
        """(GPU, MiB, percent of cores) of every claim; the cores of instances follow from their slices."""
        for claim in self._view.claims:
            yield from ((each.gpu_uuid, each.memory_mib, each.sm_percent) for each in claim.shares)
            yield from ((gpu.uuid, each.memory_mib, self._percent(gpu, each)) for gpu, each in self._held(claim))

    def _labels(self, each: GpuView) -> _LABELS:
        return {
            "node": self._node,
            "device_uuid": each.gpu.uuid,
            "device_index": str(each.gpu.index),
            "device_type": f"NVIDIA-{each.gpu.name}" if each.gpu.name else "NVIDIA",
        }

    def health(self) -> Iterator[Family]:
        """The health of each GPU."""
        gpus = self._view.gpus
        yield gauge(
            "hamid_gpu_healthy",
            "1 when new containers may get this GPU",
            [(self._labels(x), not x.problem) for x in gpus],
        )
        yield gauge(
            "hamid_gpu_pending",
            "1 while a change waits until this GPU is idle",
            [(self._labels(x), bool(x.pending)) for x in gpus],
        )

    def hami(self) -> Iterator[Family]:
        """HAMi's current names."""
        for name, text, _, value in self._shared():
            yield gauge(name, text, [(self._labels(each), value(each)) for each in self._served])
        yield self._memory_allocated("hami_gpu_memory_allocated_bytes", self._labels, "device_cores")
        yield from self._host()
        yield self._overview("hami_node_gpu_overview", self._labels, ("device_cores", "device_memory_limit"))
        yield gauge(
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
        yield from container_families(self._containers)

    def _memory_allocated(self, name: str, labels: Callable[[GpuView], _LABELS], cores: str) -> Family:
        """HAMi says the allocated cores in a label of the allocated memory."""
        told = [({**labels(x), cores: f"{self._cores_allocated(x):g}"}, self._allocated(x)) for x in self._served]
        return gauge(name, "Device memory allocated for a certain GPU", told)

    def _cores_allocated(self, each: GpuView) -> float:
        return sum(cores for _, cores in self._users[each.gpu.uuid])

    def _overview(self, name: str, labels: Callable[[GpuView], _LABELS], more: tuple[str, str]) -> Family:
        cores, memory = more
        return gauge(
            name,
            "Allocated bytes of a GPU, with its cores and MiB as labels",
            [
                ({**labels(x), cores: f"{self._cores(x):g}", memory: self._mib(x)}, self._allocated(x))
                for x in self._served
            ],
        )

    def _host(self) -> Iterator[Family]:
        for name, text, field in _HOST:
            told = [(x, getattr(x.load, field)) for x in self._view.gpus]
            yield gauge(name, text, [(self._labels(x), value) for x, value in told if value is not None])

    def legacy(self) -> Iterator[Family]:
        """HAMi's names up to v2.8."""
        for _, text, name, value in self._shared():
            yield gauge(name, text, [(self._old_labels(each.gpu), value(each)) for each in self._served])
        old = self._memory_allocated("GPUDeviceMemoryAllocated", lambda each: self._old_labels(each.gpu), "devicecores")
        yield old
        yield from old_container_families(self._containers, ZONE)
        for older, (_, text, field) in zip(("HostGPUMemoryUsage", "HostCoreUtilization"), _HOST, strict=False):
            told = [(x, getattr(x.load, field)) for x in self._view.gpus]
            yield gauge(older, text, [(self._typed(x), value) for x, value in told if value is not None])
        yield self._overview("nodeGPUOverview", self._typed, ("devicecores", "devicememorylimit"))
        samples: list[tuple[_LABELS, float]] = []
        seen: Counter[tuple[str, str]] = Counter()
        for gpu, each in self._instances():
            number = seen[gpu.uuid, each.profile]
            seen[gpu.uuid, each.profile] += 1
            samples.append(({**self._old_labels(gpu), "migname": f"{each.profile}-{number}"}, each.used))
        yield gauge("nodeGPUMigInstance", "1 while the MIG instance is in use", samples)

    def _old_labels(self, gpu: Gpu) -> _LABELS:
        return {"nodeid": self._node, "deviceuuid": gpu.uuid, "deviceidx": str(gpu.index), "zone": ZONE}

    def _typed(self, each: GpuView) -> _LABELS:
        return {**self._old_labels(each.gpu), "devicetype": self._labels(each)["device_type"]}

    def _allocated(self, each: GpuView) -> float:
        return BYTES_PER_MIB * sum(memory for memory, _ in self._users[each.gpu.uuid])

    def _mib(self, each: GpuView) -> str:
        return f"{self._memory(each) / BYTES_PER_MIB:.0f}"

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
                "hami_gpu_shared_count",
                "Number of containers sharing this GPU",
                "GPUDeviceSharedNum",
                lambda each: len(self._users[each.gpu.uuid]),
            ),
            (
                "hami_gpu_core_allocated_ratio",
                "Device core allocated for a certain GPU",
                "GPUDeviceCoreAllocated",
                self._cores_allocated,
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
        return self._allocated(each) / whole if whole else 0.0

    def _memory(self, each: GpuView) -> float:
        config = self._view.config
        mib = each.gpu.memory_mib or config.preconfigured_memory_mib
        return mib * BYTES_PER_MIB * (1.0 if each.mode is Mode.MIG else config.memory_scaling)

    def _cores(self, each: GpuView) -> float:
        return PERCENT * (1.0 if each.mode is Mode.MIG else self._view.config.core_scaling)

    @cached_property
    def _containers(self) -> tuple[ContainerHoldings, ...]:
        return tuple(self._container(claim, claim.owner) for claim in self._view.claims if claim.owner is not None)

    def _container(self, claim: Claim, owner: PodOwner) -> ContainerHoldings:
        instances = tuple((gpu, each, self._percent(gpu, each)) for gpu, each in self._held(claim))
        use = self._facts.uses.get(claim.id)
        return ContainerHoldings(owner, self._node, claim.shares, instances, use, now=self._facts.now)

    def _percent(self, gpu: Gpu, instance: Instance) -> int:
        return self._percents[gpu.uuid].get(instance.profile_id, 0)

    @cached_property
    def _percents(self) -> dict[str, dict[int, int]]:
        """The percent of the GPU's cores that an instance has, by GPU and profile."""
        return {each.gpu.uuid: _percents(each.gpu) for each in self._view.gpus}

    def _held(self, claim: Claim) -> Iterator[tuple[Gpu, Instance]]:
        """The instances of a claim that exist."""
        return (self._there[each.seat] for each in claim.seats if each.seat in self._there)


def _percents(gpu: Gpu) -> dict[int, int]:
    whole = max((each.compute_slices for each in gpu.profiles), default=0)
    return {each.profile_id: PERCENT * each.compute_slices // whole for each in gpu.profiles} if whole else {}
