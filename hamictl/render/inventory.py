# SPDX-License-Identifier: Apache-2.0
"""The text of the inventory: GPUs, profiles, instances, templates."""

from hamictl.render.axis import Box, draw
from hamictl.render.tables import table
from hamid.core.documents.envelope import Document
from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import format_geometry
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.units import format_mib


def gpu_table(gpus: tuple[Gpu, ...], *, wide: bool) -> str:
    """A table of GPUs."""
    columns = ["GPU", "NAME", "MEMORY", "MIG", "INSTANCES", "USED", "HEALTH", "UUID"]
    rows: list[list[object]] = [
        [
            g.index,
            g.name,
            format_mib(g.memory_mib),
            mode(g),
            len(g.instances),
            len(g.used_instances),
            g.health,
            g.uuid,
        ]
        for g in gpus
    ]
    if wide:
        columns += ["PCI", "MINOR", "NOTE"]
        rows = [[*row, gpu.pci_bus_id, gpu.minor, gpu.note] for row, gpu in zip(rows, gpus, strict=True)]
    return table(columns, rows)


def mode(gpu: Gpu) -> str:
    """The MIG mode as text: `on`, `off`, `off (on pending)`, `none`."""
    if not gpu.mig_capable:
        return "none"
    current = "on" if gpu.mig_enabled else "off"
    return f"{current} ({'on' if gpu.mig_pending else 'off'} pending)" if gpu.mode_changing else current


def gpu_page(gpu: Gpu, *, wide: bool) -> str:
    """The details of one GPU."""
    facts = {
        "name": gpu.name or "unknown",
        "uuid": gpu.uuid or "unknown",
        "pci": gpu.pci_bus_id or "unknown",
        "minor": "unknown" if gpu.minor is None else str(gpu.minor),
        "memory": format_mib(gpu.memory_mib),
        "mig": mode(gpu),
        "health": f"{gpu.health} {gpu.note}".strip(),
        "clients": ", ".join(str(holder) for holder in gpu.clients) or "none",
    }
    lines = [f"GPU {gpu.index}", *(f"  {key:<8} {value}" for key, value in facts.items())]
    if gpu.mig_enabled:
        boxes = [Box("=" if i.used else " ", i.profile, i.placement) for i in gpu.instances]
        lines += ["", *(f"  {line}" for line in draw(board_of(gpu.profiles).axis, boxes)), ""]
        return "\n".join(lines) + "\n" + instance_table((gpu,), wide=wide)
    return "\n".join(lines) + "\n"


def instance_table(gpus: tuple[Gpu, ...], *, wide: bool) -> str:
    """A table of instances."""
    columns = ["GPU", "MIG", "PROFILE", "MEMORY", "PLACEMENT", "GI", "CI", "HELD BY", "UUID"]
    rows: list[list[object]] = [_instance_row(gpu, instance) for gpu in gpus for instance in gpu.instances]
    if wide:
        columns.append("GPU UUID")
        uuids = [gpu.uuid for gpu in gpus for _ in gpu.instances]
        rows = [[*row, uuid] for row, uuid in zip(rows, uuids, strict=True)]
    return table(columns, rows)


def _instance_row(gpu: Gpu, instance: Instance) -> list[object]:
    ci = f"{instance.compute_instances} CIs" if instance.compute_instances > 1 else instance.ci_id
    return [
        gpu.index,
        instance.mig_index,
        instance.profile,
        format_mib(instance.memory_mib),
        instance.placement,
        instance.gi_id,
        ci,
        _held_by(instance),
        instance.mig_uuid,
    ]


def _held_by(instance: Instance) -> str | None:
    """The claim and the processes; `in use` for an instance that is used for another reason."""
    claims = [f"claim {instance.claim}"] if instance.claim else []
    return ", ".join([*claims, *map(str, instance.holders)]) or ("in use" if instance.used else None)


def profile_table(gpus: tuple[Gpu, ...], *, wide: bool) -> str:
    """A table of profiles, smallest first."""
    columns = ["GPU", "PROFILE", "ID", "MEMORY", "SLICES", "SM", "MAX", "PLACEMENTS"]
    profiles = [(gpu, p) for gpu in gpus for p in sorted(gpu.profiles, key=lambda p: p.order)]
    rows: list[list[object]] = [
        [
            gpu.index,
            p.name,
            p.profile_id,
            format_mib(p.memory_mib),
            p.compute_slices,
            p.multiprocessors,
            p.max_instances,
            f"{{{','.join(str(place.start) for place in p.placements)}}}:{p.size}",
        ]
        for gpu, p in profiles
    ]
    if wide:
        columns += ["CE", "DEC", "ENC", "JPEG", "OFA"]
        rows = [
            [*row, p.copy_engines, p.engines.decoders, p.engines.encoders, p.engines.jpeg, p.engines.ofa]
            for row, (_, p) in zip(rows, profiles, strict=True)
        ]
    return table(columns, rows)


def template_table(document: Document) -> str:
    """A table of templates, preferred first, from their document."""
    rows: list[list[object]] = [
        [
            ",".join(str(gpu) for gpu in model["gpus"]),
            template["index"],
            format_geometry(template["profiles"]),
            ", ".join(model["models"]),
        ]
        for model in document["models"]
        for template in model["templates"]
    ]
    return table(["GPU", "TEMPLATE", "GEOMETRY", "MODELS"], rows)
