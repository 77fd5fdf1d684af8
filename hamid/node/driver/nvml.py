# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA driver, seen through NVML: GPUs, profiles, instances and processes as core values.

The only module that talks to nvidia-ml-py. That binding declares no argument types, so arrays are sized from the
driver's own counts and structures go by reference (a structure by value crashes the process). Raw calls and the
translation of errors are in hamid.node.driver.calls.
"""

from collections import defaultdict

from hamid.core.errors import GpuLost, NvmlFailed
from hamid.core.hardware.gpu import Gpu, Health, Holder, Instance, Load
from hamid.core.hardware.profile import Placement, Profile
from hamid.node.driver import calls as nvml
from hamid.node.driver import profiles as profile_queries
from hamid.node.system.processes import process_name

# An instance may vanish between two calls of one walk; such a walk is repeated this often.
_WALKS = 3


def versions() -> tuple[str | None, str | None]:
    """The versions of the driver and of NVML."""
    return nvml.optional("nvmlSystemGetDriverVersion"), nvml.optional("nvmlSystemGetNVMLVersion")


def is_simulated() -> bool:
    """True when the loaded NVML is the simulated one."""
    return nvml.has_symbol("hami_sim_version")


def count() -> int:
    """The number of GPUs."""
    return int(nvml.call("nvmlDeviceGetCount_v2"))


def gpu(index: int) -> Gpu:
    """One GPU by its NVML index; one that the driver lost is marked so."""
    uuid = ""
    try:
        handle = nvml.call("nvmlDeviceGetHandleByIndex_v2", index, gpu=f"GPU {index}")
        uuid = nvml.call("nvmlDeviceGetUUID", handle, gpu=f"GPU {index}")
        return _read_gpu(index, uuid, handle)
    except NvmlFailed as error:
        health = Health.LOST if isinstance(error, GpuLost) else Health.UNREADABLE
        return Gpu(index=index, uuid=uuid, health=health, note=error.message)


def _read_gpu(index: int, uuid: str, handle: nvml.Handle) -> Gpu:
    for walk in range(_WALKS):
        try:
            return _walk_gpu(index, uuid, handle)
        except NvmlFailed as error:
            if error.code not in nvml.VANISHED or walk == _WALKS - 1:
                raise
    raise AssertionError("the last walk returns or raises")


def load(index: int) -> Load:
    """The load of one GPU. Raises NvmlFailed."""
    handle = nvml.call("nvmlDeviceGetHandleByIndex_v2", index, gpu=f"GPU {index}")
    memory = nvml.optional("nvmlDeviceGetMemoryInfo", handle)
    rates = nvml.optional("nvmlDeviceGetUtilizationRates", handle)
    return Load(
        memory_used_bytes=None if memory is None else memory.used,
        utilization_percent=None if rates is None else rates.gpu,
        memory_controller_percent=None if rates is None else rates.memory,
    )


def _walk_gpu(index: int, uuid: str, handle: nvml.Handle) -> Gpu:
    mode = nvml.optional("nvmlDeviceGetMigMode", handle)
    memory = nvml.optional("nvmlDeviceGetMemoryInfo", handle)
    pci = nvml.optional("nvmlDeviceGetPciInfo_v3", handle)
    enabled = mode is not None and mode[0] == nvml.ENABLED
    profiles = profile_queries.of_gpu(uuid, handle, enabled=enabled) if mode is not None else ()
    holders = _holders(handle)
    return Gpu(
        index=index,
        uuid=uuid,
        name=nvml.optional("nvmlDeviceGetName", handle),
        minor=nvml.optional("nvmlDeviceGetMinorNumber", handle),
        pci_bus_id=None if pci is None else nvml.text(pci.busId),
        pci_device_id=None if pci is None else f"0x{pci.pciDeviceId:08X}",
        pci_subsystem_id=None if pci is None else f"0x{pci.pciSubSystemId:08X}",
        memory_mib=None if memory is None else memory.total // nvml.BYTES_PER_MIB,
        mig_capable=mode is not None,
        mig_enabled=enabled,
        mig_pending=mode is not None and mode[1] == nvml.ENABLED,
        profiles=profiles,
        instances=_instances(uuid, handle, profiles, holders) if enabled else (),
        clients=_clients(holders, mig_enabled=enabled),
    )


def _instances(
    uuid: str, handle: nvml.Handle, profiles: tuple[Profile, ...], holders: dict[tuple[int, int], list[Holder]] | None
) -> tuple[Instance, ...]:
    devices = _mig_devices(handle)
    found = [
        _instance(uuid, gpu_instance, profile, devices, holders)
        for profile in profiles
        for gpu_instance in nvml.gpu_instances(handle, profile.profile_id, profile.max_instances)
    ]
    return tuple(sorted(found, key=lambda instance: instance.placement))


def _instance(
    uuid: str,
    gpu_instance: nvml.Handle,
    profile: Profile,
    devices: dict[tuple[int, int], tuple[int, str]],
    holders: dict[tuple[int, int], list[Holder]] | None,
) -> Instance:
    info = nvml.call("nvmlGpuInstanceGetInfo", gpu_instance)
    offered = profile_queries.of_instance(uuid, profile.profile_id, gpu_instance)
    ci_ids = [nvml.compute_instance_id(each) for each in nvml.compute_instances(gpu_instance, offered)]
    only = ci_ids[0] if len(ci_ids) == 1 else None
    index, mig_uuid = devices.get((info.id, only), (None, None)) if only is not None else (None, None)
    held = [] if holders is None else [holder for (gi, _), each in holders.items() if gi == info.id for holder in each]
    return Instance(
        profile=profile.name,
        profile_id=profile.profile_id,
        memory_mib=profile.memory_mib,
        placement=Placement(start=info.placement.start, size=info.placement.size),
        gi_id=info.id,
        ci_id=only,
        compute_instances=len(ci_ids),
        mig_index=index,
        mig_uuid=mig_uuid,
        holders=tuple(dict.fromkeys(held)),
        # Who cannot be asked counts as there: nothing in doubt is ever destroyed.
        used=holders is None or bool(held),
    )


def _mig_devices(handle: nvml.Handle) -> dict[tuple[int, int], tuple[int, str]]:
    """MIG index and uuid by (GPU instance id, compute instance id); indices have holes."""
    devices = {}
    for index in range(nvml.call("nvmlDeviceGetMaxMigDeviceCount", handle)):
        device = nvml.optional("nvmlDeviceGetMigDeviceHandleByIndex", handle, index, absent=nvml.NOT_FOUND)
        if device is None:
            continue
        key = (
            nvml.call("nvmlDeviceGetGpuInstanceId", device),
            nvml.call("nvmlDeviceGetComputeInstanceId", device),
        )
        devices[key] = (index, nvml.call("nvmlDeviceGetUUID", device))
    return devices


def _holders(handle: nvml.Handle) -> dict[tuple[int, int], list[Holder]] | None:
    """Processes by (GPU instance id, compute instance id), asked of the parent; None if the driver does not tell."""
    processes = nvml.processes(handle)
    if processes is None:
        return None
    found: dict[tuple[int, int], list[Holder]] = defaultdict(list)
    for process in processes:
        memory = None if process.usedGpuMemory is None else process.usedGpuMemory // nvml.BYTES_PER_MIB
        key = (process.gpuInstanceId, process.computeInstanceId)
        found[key].append(Holder(process.pid, process_name(process.pid), memory))
    return found


def _clients(holders: dict[tuple[int, int], list[Holder]] | None, *, mig_enabled: bool) -> tuple[Holder, ...]:
    """Processes outside every instance; without MIG all of them."""
    return tuple(
        dict.fromkeys(
            holder
            for (gi, _), each in (holders or {}).items()
            if gi == nvml.NO_INSTANCE or not mig_enabled
            for holder in each
        )
    )
