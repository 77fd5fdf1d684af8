# SPDX-License-Identifier: Apache-2.0
"""The node as a decision must see it: NVML's view with every promise in it that NVML does not show yet, or any more.

The law: a promised place is taken although nothing lies there, and what is about to go is nobody's to take.
"""

from collections.abc import Container, Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims.claim import ClaimedSeat, InstanceKey, LedgerFacts, instance_at, merge_gpu, seat_of
from hamid.core.hardware.gpu import Gpu, Instance


class Reserved(Struct, frozen=True, kw_only=True):
    """The GPUs as NVML shows them, what the ledger says, what open changes will destroy, and what is wrong by GPU.

    `merged` are the same GPUs with what the ledger says in them, where somebody has them at hand.
    """

    gpus: tuple[Gpu, ...]
    facts: LedgerFacts
    merged: tuple[Gpu, ...] = ()
    doomed: frozenset[InstanceKey] = frozenset()
    problems: Mapping[str, str] = {}
    simulated: bool = False

    def gpu(self, uuid: str) -> Gpu | None:
        """A GPU by its uuid."""
        return next((gpu for gpu in self.gpus if gpu.uuid == uuid), None)


def for_planning(reserved: Reserved, gpus: Iterable[Gpu], *, keep_foreign: bool) -> tuple[Gpu, ...]:
    """These GPUs for the planner: promised and doomed places are in use, so is with `keep_foreign` what others made."""
    wanted = {gpu.uuid for gpu in gpus}
    seats = _seats_by_gpu(reserved.facts, wanted)
    known = [gpu for gpu in reserved.merged or reserved.gpus if gpu.uuid in wanted]
    merged = known if reserved.merged else [merge_gpu(gpu, reserved.facts) for gpu in known]
    return tuple(_planned_on(gpu, reserved, seats.get(gpu.uuid, ()), keep_foreign) for gpu in merged)


def _seats_by_gpu(facts: LedgerFacts, uuids: Container[str]) -> dict[str, list[tuple[str, ClaimedSeat]]]:
    found: dict[str, list[tuple[str, ClaimedSeat]]] = {}
    for claim in facts.claims:
        for each in claim.seats:
            if each.seat.gpu_uuid in uuids:
                found.setdefault(each.seat.gpu_uuid, []).append((claim.name, each))
    return found


def _planned_on(gpu: Gpu, reserved: Reserved, seats: Iterable[tuple[str, ClaimedSeat]], keep_foreign: bool) -> Gpu:  # noqa: FBT001
    there = tuple(
        replace(each, used=True) if not each.used and _untouchable(gpu, each, reserved, keep_foreign) else each
        for each in gpu.instances
    )
    return replace(gpu, instances=(*there, *_promised(gpu, seats)))


def _untouchable(gpu: Gpu, each: Instance, reserved: Reserved, keep_foreign: bool) -> bool:  # noqa: FBT001
    foreign = each.generation == 0
    return each.compute_instances != 1 or seat_of(gpu, each) in reserved.doomed or (keep_foreign and foreign)


def _promised(gpu: Gpu, seats: Iterable[tuple[str, ClaimedSeat]]) -> Iterator[Instance]:
    """Instances that a claim holds and that are not there, unless another one took their place."""
    taken = 0
    for instance in gpu.instances:
        taken |= instance.placement.mask
    for name, each in seats:
        if instance_at(gpu, each.seat) is None and not each.placement.mask & taken:
            yield Instance(
                profile=each.profile,
                profile_id=each.seat.profile_id,
                memory_mib=0,
                placement=each.placement,
                gi_id=-1,
                claim=name,
                used=True,
            )
