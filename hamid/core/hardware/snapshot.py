# SPDX-License-Identifier: Apache-2.0
"""The whole state of the node at one moment, and the fingerprint that a plan compares."""

import hashlib

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.hardware.gpu import Gpu


class Snapshot(Struct, frozen=True, kw_only=True):
    """Every GPU of the node in NVML's order; `simulated` is True on the simulated driver.

    `warnings` say what hamid could not find out; for that it assumes the worst.
    """

    gpus: tuple[Gpu, ...]
    simulated: bool = False
    driver_version: str | None = None
    nvml_version: str | None = None
    warnings: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """A short hash of what a plan depends on; equal fingerprints mean that a plan still applies.

        It covers GPU uuids, MIG mode current and pending, and each instance's profile, start, generation and used
        flag: never pids, memory or temperatures.
        """
        lines = [_gpu_facts(gpu) for gpu in self.gpus]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _gpu_facts(gpu: Gpu) -> str:
    instances = sorted(
        f"{i.profile_id}@{i.placement.start}#{i.generation}{'u' if i.used else ''}" for i in gpu.instances
    )
    return f"{gpu.uuid} {gpu.health} {gpu.mig_enabled} {gpu.mig_pending} {' '.join(instances)}"


def select_gpus(snapshot: Snapshot, selectors: tuple[str, ...]) -> tuple[Gpu, ...]:
    """The GPUs that `-i` names, each by index, uuid (also a unique beginning of it) or PCI bus id; by default all.

    Raises UsageError for a selector that names none or several.
    """
    if not selectors:
        return snapshot.gpus
    wanted = {_select(snapshot, selector).index for selector in selectors}
    return tuple(gpu for gpu in snapshot.gpus if gpu.index in wanted)


def _select(snapshot: Snapshot, selector: str) -> Gpu:
    matches = [gpu for gpu in snapshot.gpus if _names(gpu, selector)]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in snapshot.gpus) or "none"
    problem = "names several GPUs" if matches else "names no GPU of this node"
    raise UsageError(f"'{selector}' {problem}", f"GPUs here: {known}; use an index, a uuid or a PCI bus id")


def _names(gpu: Gpu, selector: str) -> bool:
    if selector.isascii() and selector.isdigit():
        return selector.lstrip("0") == str(gpu.index).lstrip("0")
    wanted = selector.lower()
    if wanted.startswith("gpu-"):
        return gpu.uuid.lower().startswith(wanted)
    bus = (gpu.pci_bus_id or "").lower()
    # NVML prints an eight-digit PCI domain, lspci a four-digit one or none.
    return bool(bus) and wanted in {bus, bus.removeprefix("0000"), bus.split(":", 1)[1]}
