# SPDX-License-Identifier: Apache-2.0
"""Container metrics with HAMi's names: what each container was granted and uses of each of its devices."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from hamid.core.claims.claim import ClaimedShare, PodOwner
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.library.region import ContainerUse, Use
from hamid.core.metrics.family import Family, gauge
from hamid.core.units import BYTES_PER_MIB

_Labels = dict[str, str]
_Samples = list[tuple[_Labels, float]]
# HAMi's labels of today and what they were called up to v2.8: of a container's device, and of a container.
_OLD_DEVICE: Final = {
    "namespace": "podnamespace",
    "pod": "podname",
    "container": "ctrname",
    "vdevice_index": "vdeviceid",
    "device_uuid": "deviceuuid",
}
_OLD_CONTAINER: Final = {
    "namespace": "podnamespace",
    "node": "nodename",
    "pod": "podname",
    "container_index": "containeridx",
    "device_uuid": "deviceuuid",
}
# Of what a container uses: name, text, field of Use.
_USED: Final = (
    ("hami_vgpu_memory_used_bytes", "vGPU device memory usage in bytes", "total_bytes"),
    ("hami_container_device_memory_bytes", "Container device memory usage in bytes", "total_bytes"),
    ("hami_vgpu_memory_context_bytes", "Container device memory context size in bytes", "context_bytes"),
    ("hami_vgpu_memory_module_bytes", "Container device memory module size in bytes", "module_bytes"),
    ("hami_vgpu_memory_buffer_bytes", "Container device memory buffer size in bytes", "buffer_bytes"),
)


class ContainerHoldings(Struct, frozen=True):
    """A container's shares, or its instances with GPU and percent of cores; and its use of them, if known."""

    owner: PodOwner
    node: str
    shares: Sequence[ClaimedShare]
    instances: Sequence[tuple[Gpu, Instance, int]]
    use: ContainerUse | None
    now: float

    def labels(self, number: int, gpu_uuid: str) -> _Labels:
        """The labels of one of its devices."""
        owner = self.owner
        who = {"namespace": owner.namespace, "pod": owner.name, "container": owner.container}
        return {**who, "vdevice_index": str(number), "device_uuid": gpu_uuid}

    def used(self) -> Iterator[tuple[_Labels, Use]]:
        """The use of each share, where it is known."""
        if self.use is not None:
            for number, (share, each) in enumerate(zip(self.shares, self.use.devices, strict=False)):
                yield self.labels(number, share.gpu_uuid), each

    def allocated(self) -> Iterator[tuple[_Labels, int, int]]:
        """MiB and percent of the cores of each GPU, where it is known which container of its pod this is."""
        owner = self.owner
        if owner.index is None:
            return
        who = {"namespace": owner.namespace, "node": self.node, "pod": owner.name, "container_index": str(owner.index)}
        sums: dict[str, tuple[int, int]] = {}
        shares = [(each.gpu_uuid, each.memory_mib, each.sm_percent) for each in self.shares]
        for uuid, mib, percent in [
            *shares,
            *((gpu.uuid, each.memory_mib, cores) for gpu, each, cores in self.instances),
        ]:
            before = sums.get(uuid, (0, 0))
            sums[uuid] = (before[0] + mib, before[1] + percent)
        yield from (({**who, "device_uuid": uuid}, mib, percent) for uuid, (mib, percent) in sums.items())


def container_families(containers: Iterable[ContainerHoldings]) -> Iterator[Family]:
    """HAMi's current names."""
    held = list(containers)
    yield gauge("hami_vgpu_memory_limit_bytes", "vGPU device memory limit in bytes", _limits(held))
    used = [each for x in held for each in x.used()]
    for name, text, field in _USED:
        yield gauge(name, text, [(labels, getattr(use, field)) for labels, use in used])
    yield gauge("hami_container_device_utilization_ratio", "Container device SM utilization ratio", _busy(held))
    yield gauge(
        "hami_container_last_kernel_elapsed_seconds", "Seconds since last kernel execution in container", _idle(held)
    )
    memory, cores = _allocated(held)
    yield gauge("hami_vgpu_memory_allocated_bytes", "vGPU memory allocated from a container", memory)
    yield gauge("hami_vgpu_core_allocated_ratio", "vGPU core allocated from a container", cores)
    yield gauge("hami_mig_device_info", "MIG runtime identity for a container allocation", _instances(held))


def old_container_families(containers: Iterable[ContainerHoldings], zone: str) -> Iterator[Family]:
    """HAMi's names up to v2.8."""
    held = list(containers)
    used: _Samples = [(labels, use.total_bytes) for x in held for labels, use in x.used()]
    memory, cores = _allocated(held)
    mig = [({**labels, "instanceid": labels["gpu_instance_id"]}, value) for labels, value in _instances(held)]
    device = {**_OLD_DEVICE, "instanceid": "instanceid"}
    for name, text, samples, names in (
        ("vGPU_device_memory_limit_in_bytes", "vGPU device limit", _limits(held), _OLD_DEVICE),
        ("vGPU_device_memory_usage_in_bytes", "vGPU device usage", used, _OLD_DEVICE),
        ("Device_utilization_desc_of_container", "Container device utilization", _busy(held), _OLD_DEVICE),
        ("Device_last_kernel_of_container", "Container device last kernel", _idle(held), _OLD_DEVICE),
        ("MigInfo", "Mig device information for container", mig, device),
        ("vGPUMemoryAllocated", "vGPU memory allocated from a container", memory, _OLD_CONTAINER),
        ("vGPUCoreAllocated", "vGPU core allocated from a container", cores, _OLD_CONTAINER),
    ):
        renamed = [({older: labels[x] for x, older in names.items()} | {"zone": zone}, v) for labels, v in samples]
        yield gauge(name, text, renamed)


def _limits(held: Iterable[ContainerHoldings]) -> _Samples:
    return [
        (x.labels(number, share.gpu_uuid), share.memory_mib * BYTES_PER_MIB)
        for x in held
        for number, share in enumerate(x.shares)
    ]


def _busy(held: Iterable[ContainerHoldings]) -> _Samples:
    told = [x for x in held if x.use is not None and x.use.tells_cores]
    return [(labels, use.sm_percent) for x in told for labels, use in x.used()]


def _idle(held: Iterable[ContainerHoldings]) -> _Samples:
    told = [(x, x.use.last_kernel_at) for x in held if x.use is not None and x.use.last_kernel_at]
    return [(labels, max(x.now - at, 0.0)) for x, at in told for labels, _ in x.used()]


def _allocated(held: Iterable[ContainerHoldings]) -> tuple[_Samples, _Samples]:
    told = [each for x in held for each in x.allocated()]
    return [(labels, mib * BYTES_PER_MIB) for labels, mib, _ in told], [(labels, cores) for labels, _, cores in told]


def _instances(held: Iterable[ContainerHoldings]) -> _Samples:
    return [
        ({**x.labels(number, gpu.uuid), **_mig(instance)}, 1)
        for x in held
        for number, (gpu, instance, _) in enumerate(x.instances)
    ]


def _mig(instance: Instance) -> _Labels:
    return {
        "mig_uuid": instance.mig_uuid or "",
        "profile": instance.profile,
        "gpu_instance_id": str(instance.gi_id),
        "compute_instance_id": "" if instance.ci_id is None else str(instance.ci_id),
    }
