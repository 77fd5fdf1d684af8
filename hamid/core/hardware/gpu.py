# SPDX-License-Identifier: Apache-2.0
"""The state of one physical GPU at a moment: identity, MIG mode, profiles, instances, clients."""

from enum import StrEnum

from msgspec import Struct

from hamid.core.hardware.profile import Placement, Profile


class Health(StrEnum):
    """`lost`: NVML answers GPU_IS_LOST or RESET_REQUIRED; `unreadable`: another NVML error."""

    OK = "ok"
    LOST = "lost"
    UNREADABLE = "unreadable"


class Holder(Struct, frozen=True):
    """A process that uses an instance or a GPU (`pid`, its name), and its GPU memory if NVML reports it."""

    pid: int
    name: str
    memory_mib: int | None = None

    def __str__(self) -> str:
        return f"{self.name}({self.pid})"


class Instance(Struct, frozen=True, kw_only=True):
    """A GPU instance with its compute instances.

    `mig_uuid`, `mig_index` and `ci_id` are those of its only compute instance, or None when it has none or several.
    `used` is True when a process or a claim holds it, or when hamid could not find out; `claim` is that claim's
    name. `generation` counts our own instances and is 0 for foreign ones.
    """

    profile: str
    profile_id: int
    memory_mib: int
    placement: Placement
    gi_id: int
    ci_id: int | None = None
    compute_instances: int = 0
    mig_index: int | None = None
    mig_uuid: str | None = None
    generation: int = 0
    claim: str = ""
    holders: tuple[Holder, ...] = ()
    used: bool = False


class Load(Struct, frozen=True, kw_only=True):
    """The load of a whole GPU by all its users; None where NVML does not report it, as for utilization in MIG mode."""

    memory_used_bytes: int | None = None
    utilization_percent: int | None = None
    memory_controller_percent: int | None = None


class Gpu(Struct, frozen=True, kw_only=True):
    """A physical GPU; None where the driver answers NOT_SUPPORTED.

    `pci_device_id` and `pci_subsystem_id` are device and vendor in one, as NVML packs them: `0x20B010DE`.
    `clients` are the processes on the GPU outside every instance. `note` says why a GPU is lost or not readable.
    """

    index: int
    uuid: str
    name: str | None = None
    minor: int | None = None
    pci_bus_id: str | None = None
    pci_device_id: str | None = None
    pci_subsystem_id: str | None = None
    memory_mib: int | None = None
    health: Health = Health.OK
    note: str = ""
    mig_capable: bool = False
    mig_enabled: bool = False
    mig_pending: bool = False
    profiles: tuple[Profile, ...] = ()
    instances: tuple[Instance, ...] = ()
    clients: tuple[Holder, ...] = ()

    @property
    def title(self) -> str:
        """Its display name: `GPU 0 (NVIDIA A30)`."""
        return f"GPU {self.index} ({self.name or 'name unknown'})"

    @property
    def mode_changing(self) -> bool:
        """True while the pending MIG mode differs from the current one."""
        return self.mig_enabled != self.mig_pending

    @property
    def used_instances(self) -> tuple[Instance, ...]:
        """Instances that must not be touched."""
        return tuple(instance for instance in self.instances if instance.used)
