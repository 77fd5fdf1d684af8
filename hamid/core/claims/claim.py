# SPDX-License-Identifier: Apache-2.0
"""What the ledger adds to NVML's facts: which instances hamid made, and which claims hold them.

Invariant: an instance in doubt counts as used, and a used instance is never destroyed.
"""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec
from msgspec import Struct, field

from hamid.core.claims.container_request import ContainerRequest
from hamid.core.errors import UsageError
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.hardware.snapshot import Snapshot

# No slash and no colon: an operator's name never equals a name that hamid gives to a container's claim.
_OPERATOR_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def operator_name(name: str) -> str:
    """The name of an operator's claim; raises UsageError for an invalid one."""
    if not _OPERATOR_NAME.fullmatch(name):
        raise UsageError(
            f"{name[:60]!r} is not a valid claim name",
            "use at most 100 letters, digits, dots, dashes and underscores, starting with a letter or digit",
        )
    return name


class InstanceKey(Struct, frozen=True, order=True):
    """Where an instance lies; together with our generation it identifies the instance."""

    gpu_uuid: str
    profile_id: int
    start: int


class OwnInstance(Struct, frozen=True, kw_only=True):
    """An instance that hamid made. `mig_uuid` is its UUID at creation; a different UUID means a foreign instance."""

    seat: InstanceKey
    profile: str
    size: int
    generation: int
    mig_uuid: str | None = None

    def is_at(self, instance: Instance) -> bool:
        """True when this instance, which lies on our seat, is the one that hamid made."""
        return self.mig_uuid is None or instance.mig_uuid is None or self.mig_uuid == instance.mig_uuid


class ClaimedSeat(Struct, frozen=True, kw_only=True):
    """One instance of a claim; `made`: it was created for the claim and is destroyed when the claim ends."""

    seat: InstanceKey
    profile: str
    size: int
    made: bool
    mig_uuid: str | None = None

    @property
    def placement(self) -> Placement:
        """Its place on the GPU."""
        return Placement(start=self.seat.start, size=self.size)


class ClaimedShare(Struct, frozen=True, kw_only=True):
    """A part of a GPU that libvgpu enforces; a claim's shares are in the order in which the container sees them."""

    gpu_uuid: str
    memory_mib: int
    sm_percent: int


class PodOwner(Struct, frozen=True, kw_only=True):
    """The container that a claim was granted to, its request, and the device ids that kubelet assigned to it.

    For an unknown pod, `uid` and the names are empty. `confirmed`: kubelet reported that this container holds these
    ids; before that it may be another container with an equal request, unless only one was waiting (`sure`).
    `index` is its place among the pod's containers; init containers have none.
    `folder` names its directory, which stays the same if the owner is corrected later; `earlier` are the directories of
    init containers that held the claim before. `granted_at` is Unix time.
    """

    uid: str = ""
    namespace: str = ""
    name: str = ""
    container: str = ""
    index: int | None = None
    resource: str
    device_ids: tuple[str, ...]
    request: ContainerRequest = field(name="asked")  # the name in the ledger
    folder: str = ""
    earlier: tuple[str, ...] = ()
    sure: bool = True
    confirmed: bool = False
    granted_at: float
    boot_id: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Every directory that belongs to the claim."""
        return (*self.earlier, self.folder)

    @property
    def known(self) -> bool:
        """True when the pod is known, even if it is not sure."""
        return bool(self.uid)

    def __str__(self) -> str:
        who = self.name or self.uid
        return f"{self.namespace}/{who}/{self.container}" if who else "an unknown container"


class Claim(Struct, frozen=True, kw_only=True, dict=True):
    """A granted request: of a pod's container (`owner`), or of an operator, who chose the `operator_name`.

    `id` identifies the claim even if its owner is corrected later; later claims have higher ids. `pending`: it is being
    made and not yet delivered; on failure, what was made for it is undone.
    """

    id: int
    operator_name: str = ""
    seats: tuple[ClaimedSeat, ...] = ()
    shares: tuple[ClaimedShare, ...] = ()
    owner: PodOwner | None = None
    pending: bool = False

    # Cached: every table and message about the node uses it.
    @cached_property
    def name(self) -> str:
        """The claim's unique display name; operators' names have no slash or colon."""
        if self.owner is None:
            return self.operator_name
        return f"{self.owner if self.owner.name or self.owner.uid else 'unidentified'}:{self.id}"

    @property
    def gpu_uuids(self) -> tuple[str, ...]:
        """The GPUs that it has a part of."""
        return tuple(dict.fromkeys([*(each.seat.gpu_uuid for each in self.seats), *(x.gpu_uuid for x in self.shares)]))


class LedgerFacts(Struct, frozen=True, kw_only=True, dict=True):
    """The content of the ledger. Not `trusted`: it could not be read, so every instance counts as used.

    `unexplained` instances existed when a lost ledger was rebuilt. `adopting` is the reason for the rebuild while
    claims may still be missing.
    """

    own: tuple[OwnInstance, ...] = ()
    claims: tuple[Claim, ...] = ()
    unexplained: frozenset[InstanceKey] = frozenset()
    adopting: str = ""
    trusted: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """True when all claims are known and every instance is explained."""
        return self.trusted and not self.unexplained and not self.adopting

    def claim_on(self, seat: InstanceKey) -> str:
        """The name of the claim that holds a seat, or nothing."""
        claim = self._claimed.get(seat)
        return "" if claim is None else claim.name

    def claim_at(self, seat: InstanceKey) -> Claim | None:
        """The claim that holds a seat."""
        return self._claimed.get(seat)

    def claim(self, claim_id: int | None) -> Claim | None:
        """The claim with that id."""
        return next((claim for claim in self.claims if claim.id == claim_id), None)

    def without(self, *claim_ids: int | None) -> "LedgerFacts":
        """The facts without these claims, for actions on behalf of those claims."""
        return msgspec.structs.replace(self, claims=tuple(claim for claim in self.claims if claim.id not in claim_ids))

    def own_at(self, seat: InstanceKey) -> OwnInstance | None:
        """Our instance on a seat."""
        return self._own.get(seat)

    def on_gpu(self, uuid: str) -> tuple[object, ...]:
        """The facts about one GPU: for equal facts and an equal GPU, `merge_gpu` returns equal results."""
        return (self.trusted, *self._by_gpu.get(uuid, ()))

    @cached_property
    def _by_gpu(self) -> dict[str, list[object]]:
        found: dict[str, list[object]] = {}
        for own in self.own:
            found.setdefault(own.seat.gpu_uuid, []).append(own)
        for claim in self.claims:
            for each in claim.seats:
                found.setdefault(each.seat.gpu_uuid, []).append((each.seat, claim.name))
        for seat in sorted(self.unexplained):
            found.setdefault(seat.gpu_uuid, []).append(seat)
        return found

    # Cached: one decision on a node with 16 GPUs looks this up a thousand times.
    @cached_property
    def _claimed(self) -> dict[InstanceKey, Claim]:
        return {each.seat: claim for claim in self.claims for each in claim.seats}

    @cached_property
    def _own(self) -> dict[InstanceKey, OwnInstance]:
        return {each.seat: each for each in self.own}


def seat_of(gpu: Gpu, instance: Instance) -> InstanceKey:
    """The seat of an instance on its GPU."""
    return InstanceKey(gpu.uuid, instance.profile_id, instance.placement.start)


def instance_at(gpu: Gpu, seat: InstanceKey) -> Instance | None:
    """The instance that lies on a seat of this GPU."""
    return next((each for each in gpu.instances if seat_of(gpu, each) == seat), None)


def merge(snapshot: Snapshot, facts: LedgerFacts) -> Snapshot:
    """The snapshot with generations, claims and doubts in it."""
    gpus = tuple(merge_gpu(gpu, facts) for gpu in snapshot.gpus)
    return msgspec.structs.replace(snapshot, gpus=gpus, warnings=(*snapshot.warnings, *facts.warnings))


def merge_gpu(gpu: Gpu, facts: LedgerFacts) -> Gpu:
    """One GPU with generations, claims and doubts in it."""
    instances = tuple(_merged(instance, seat_of(gpu, instance), facts) for instance in gpu.instances)
    return msgspec.structs.replace(gpu, instances=instances)


def _merged(instance: Instance, seat: InstanceKey, facts: LedgerFacts) -> Instance:
    own = facts.own_at(seat)
    claim = facts.claim_on(seat)
    doubtful = seat in facts.unexplained or not facts.trusted
    return msgspec.structs.replace(
        instance,
        generation=own.generation if own is not None and own.is_at(instance) else 0,
        claim=claim,
        used=instance.used or bool(claim) or doubtful,
    )


def users(instance: Instance, facts: LedgerFacts, seat: InstanceKey) -> str:
    """Who or what uses an instance, as text; empty if it may be destroyed."""
    names = [str(holder) for holder in instance.holders]
    claim = facts.claim_on(seat)
    if claim:
        names.append(f"claim '{claim}'")
    if seat in facts.unexplained:
        names.append("an unknown holder: the ledger was lost, see hamictl mig repair")
    if not names and (instance.used or not facts.trusted):
        names.append("an unknown holder")
    return ", ".join(names)


def missing(gpus: Iterable[Gpu], facts: LedgerFacts) -> list[OwnInstance]:
    """Instances of ours that no longer exist, or whose seat holds another instance now."""
    there = {seat_of(gpu, each): each for gpu in gpus for each in gpu.instances}
    return [own for own in facts.own if own.seat not in there or not own.is_at(there[own.seat])]


def claimed(gpus: Iterable[Gpu], claims: Iterable[Claim]) -> Iterator[tuple[str, ClaimedSeat, Instance | None]]:
    """Every claimed seat with its claim's name and the instance that lies there, None where none does."""
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    for claim in claims:
        for each in claim.seats:
            gpu = by_uuid.get(each.seat.gpu_uuid)
            yield claim.name, each, None if gpu is None else instance_at(gpu, each.seat)


class ClaimStatus(StrEnum):
    """How certain a claim's holder is; `pending` means that the claim is still being made."""

    CONFIRMED = "confirmed"
    PROVISIONAL = "provisional"
    PENDING = "pending"
    OPERATOR = "operator"


def status_of(claim: Claim) -> ClaimStatus:
    """The status of a claim."""
    if claim.owner is None:
        return ClaimStatus.OPERATOR
    if claim.pending:
        return ClaimStatus.PENDING
    return ClaimStatus.CONFIRMED if claim.owner.confirmed else ClaimStatus.PROVISIONAL
