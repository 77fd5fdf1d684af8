# SPDX-License-Identifier: Apache-2.0
"""How much of each GPU is left for shares, and which GPUs a request for shares gets.

Invariant: the sum of all shares never exceeds the GPU's memory and cores, scaled as configured; a container gets at
most one share of a GPU.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from hamid.core.claims.claim import Claim, ClaimedShare
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.config.config import Config
from hamid.core.hardware.gpu import Gpu
from hamid.core.planner.reasons import (
    CoresPromised,
    CoresShared,
    CoresTaken,
    FullShare,
    MemoryTaken,
    Reason,
    SplitUsedUp,
    TotalUnknown,
)
from hamid.core.planner.refusal import NoShares, Refusal
from hamid.core.planner.request import GpuPolicy
from hamid.core.units import PERCENT


class ShareSize(Struct, frozen=True, kw_only=True):
    """What a container requests of each GPU: memory in MiB or in percent of the GPU (both None: all), and cores."""

    memory_mib: int | None = None
    memory_percent: int | None = None
    cores_percent: int = 0

    def on(self, total_mib: int) -> int:
        """The memory in MiB on a GPU with `total_mib` to share."""
        if self.memory_mib is not None:
            return self.memory_mib
        return -(-total_mib * (PERCENT if self.memory_percent is None else self.memory_percent) // PERCENT)

    def __str__(self) -> str:
        memory = (
            f"{self.memory_mib} MiB" if self.memory_mib is not None else f"{self.memory_percent or PERCENT}% memory"
        )
        return f"{memory} and {self.cores_percent}% cores" if self.cores_percent else memory


class Room(Struct, frozen=True, kw_only=True):
    """One GPU's totals and how much of them is claimed; `users` is the number of containers that share it."""

    gpu: Gpu
    memory_mib: int
    cores_percent: int
    slots: int
    used_memory_mib: int = 0
    used_cores_percent: int = 0
    users: int = 0

    def shortage(self, size: ShareSize) -> FullShare | None:
        """Why one more share of that size cannot be had, or None."""
        wanted = size.on(self.memory_mib)
        free_memory = self.memory_mib - self.used_memory_mib
        if not self.memory_mib:
            return TotalUnknown()
        if self.users >= self.slots:
            return SplitUsedUp(self.users)
        if wanted > free_memory:
            return MemoryTaken(max(free_memory, 0), self.memory_mib, wanted)
        return self._no_cores(size.cores_percent)

    def _no_cores(self, wanted: int) -> FullShare | None:
        free = self.cores_percent - self.used_cores_percent
        if wanted > free:
            return CoresTaken(max(free, 0), self.cores_percent, wanted)
        # As in HAMi: a container with all cores shares the GPU with no other, and none is added when no cores are left.
        if wanted >= PERCENT and self.users and self.cores_percent <= PERCENT:
            return CoresShared()
        return CoresPromised() if not wanted and self.users and free <= 0 else None


def find_shares(
    gpus: Iterable[Gpu], claims: Iterable[Claim], config: Config, wanted: ContainerRequest, *, first: Sequence[str]
) -> tuple[ClaimedShare, ...] | Refusal:
    """The shares that a container gets of these GPUs, or why it gets none; the GPUs in `first` come first."""
    size = ShareSize(
        memory_mib=wanted.memory_mib, memory_percent=wanted.memory_percent, cores_percent=wanted.cores_percent
    )
    found = rooms(gpus, claims, config)
    spread = config.gpu_policy is GpuPolicy.SPREAD
    shares = choose_shares(found, size, wanted.count, first=first, spread=spread)
    if shares:
        return shares
    short = [(each.gpu.index, each.shortage(size)) for each in found.values()]
    return Refusal(
        facts=NoShares(wanted.count, str(size), len(found)),
        reasons=tuple(Reason(gpu=index, facts=facts) for index, facts in short if facts is not None),
    )


def rooms(gpus: Iterable[Gpu], claims: Iterable[Claim], config: Config) -> dict[str, Room]:
    """What each GPU can share and has shared, by uuid."""
    used: dict[str, list[ClaimedShare]] = {}
    for claim in claims:
        for each in claim.shares:
            used.setdefault(each.gpu_uuid, []).append(each)
    return {
        gpu.uuid: Room(
            gpu=gpu,
            memory_mib=int((config.preconfigured_memory_mib or gpu.memory_mib or 0) * config.memory_scaling),
            cores_percent=int(PERCENT * config.core_scaling),
            slots=config.split_count,
            used_memory_mib=sum(each.memory_mib for each in used.get(gpu.uuid, ())),
            used_cores_percent=sum(each.sm_percent for each in used.get(gpu.uuid, ())),
            users=len(used.get(gpu.uuid, ())),
        )
        for gpu in gpus
    }


def choose_shares(
    room: Mapping[str, Room], size: ShareSize, count: int, *, first: Sequence[str], spread: bool
) -> tuple[ClaimedShare, ...]:
    """Shares of `count` different GPUs, ordered by PCI bus id as CUDA numbers them; nothing if there are too few.

    GPUs in `first` come first, then those in use (with `spread`: the least used), then by index.
    """
    fitting = [each for each in room.values() if each.shortage(size) is None]
    if len(fitting) < count:
        return ()

    def order(each: Room) -> tuple[object, ...]:
        used = each.used_memory_mib / each.memory_mib + each.used_cores_percent / max(each.cores_percent, 1)
        return (each.gpu.uuid not in first, used if spread else -used, each.gpu.index)

    chosen = sorted(sorted(fitting, key=order)[:count], key=lambda each: (each.gpu.pci_bus_id or "", each.gpu.index))
    return tuple(
        ClaimedShare(gpu_uuid=each.gpu.uuid, memory_mib=size.on(each.memory_mib), sm_percent=size.cores_percent)
        for each in chosen
    )
