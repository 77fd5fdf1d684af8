# SPDX-License-Identifier: Apache-2.0
"""What the node has, as JSON documents: GPUs, MIG instances, profiles, templates."""

from hamid.core.documents.envelope import Document, envelope
from hamid.core.hardware.gpu import Gpu, Holder, Instance
from hamid.core.hardware.profile import Placement, Profile
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.templates import TemplateTable


def instances_document(snapshot: Snapshot, gpus: tuple[Gpu, ...]) -> Document:
    """A `MigInstanceList` of these GPUs."""
    rows = [instance_document(gpu, instance) for gpu in gpus for instance in gpu.instances]
    return {**envelope("MigInstanceList", simulated=snapshot.simulated), "instances": rows}


def instance_document(gpu: Gpu, instance: Instance) -> Document:
    """One MIG instance as an entry of a list."""
    return {
        "gpu": gpu.index,
        "gpuUUID": gpu.uuid,
        "index": instance.mig_index,
        "profile": instance.profile,
        "profileId": instance.profile_id,
        "memoryMiB": instance.memory_mib,
        **placement_keys(instance.placement),
        "giId": instance.gi_id,
        "ciId": instance.ci_id,
        "computeInstances": instance.compute_instances,
        "migUUID": instance.mig_uuid,
        "used": instance.used,
        "claim": instance.claim or None,
        "holders": _holders(instance.holders),
    }


def _holders(holders: tuple[Holder, ...]) -> list[Document]:
    return [{"pid": h.pid, "name": h.name, "memoryMiB": h.memory_mib} for h in holders]


def gpus_document(snapshot: Snapshot, gpus: tuple[Gpu, ...]) -> Document:
    """A `GpuList` of these GPUs."""
    head = envelope("GpuList", simulated=snapshot.simulated)
    return {**head, "driverVersion": snapshot.driver_version, "gpus": [gpu_document(gpu) for gpu in gpus]}


def gpu_document(gpu: Gpu) -> Document:
    """One GPU as an entry of a list."""
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "minor": gpu.minor,
        "pciBusId": gpu.pci_bus_id,
        "memoryMiB": gpu.memory_mib,
        "health": gpu.health,
        "note": gpu.note,
        "mig": {"capable": gpu.mig_capable, "enabled": gpu.mig_enabled, "pending": gpu.mig_pending},
        "instances": [instance_document(gpu, instance) for instance in gpu.instances],
        "clients": _holders(gpu.clients),
    }


def profiles_document(snapshot: Snapshot, gpus: tuple[Gpu, ...]) -> Document:
    """A `MigProfileList`: what each GPU's driver offers, smallest first."""
    rows = [
        {"gpu": gpu.index, "gpuUUID": gpu.uuid, **_profile(p)}
        for gpu in gpus
        for p in sorted(gpu.profiles, key=lambda p: p.order)
    ]
    return {**envelope("MigProfileList", simulated=snapshot.simulated), "profiles": rows}


def _profile(profile: Profile) -> Document:
    return {
        "name": profile.name,
        "profileId": profile.profile_id,
        "memoryMiB": profile.memory_mib,
        "computeSlices": profile.compute_slices,
        "multiprocessors": profile.multiprocessors,
        "copyEngines": profile.copy_engines,
        "decoders": profile.engines.decoders,
        "encoders": profile.engines.encoders,
        "jpeg": profile.engines.jpeg,
        "ofa": profile.engines.ofa,
        "maxInstances": profile.max_instances,
        "placements": [placement_keys(place) for place in profile.placements],
    }


def templates_document(table: TemplateTable, gpus: tuple[Gpu, ...]) -> Document:
    """A `MigTemplateList`: the table's entries, with the GPUs of this node that each is for."""
    found = {gpu.index: table.lookup(gpu.name) for gpu in gpus}
    rows = [
        {
            "models": list(entry.models),
            "gpus": [index for index, match in found.items() if match is entry],
            "templates": [{"index": t.index, "profiles": t.geometry} for t in entry.templates],
        }
        for entry in table.entries
    ]
    return {**envelope("MigTemplateList"), "source": table.source, "models": rows}


def placement_keys(placement: Placement) -> Document:
    """The keys by which every document says where an instance lies."""
    return {"start": placement.start, "size": placement.size}
