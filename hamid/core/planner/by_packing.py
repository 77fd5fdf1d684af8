# SPDX-License-Identifier: Apache-2.0
"""Policy packed: what one GPU offers with any legal placement.

Idle instances that satisfy the request are reused first. Missing ones are created at the smallest sufficient size,
seated together by search so that later requests keep the most choices. As few idle instances as possible are
destroyed, and only those that may be.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from hamid.core.hardware.board import Board, board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Profile
from hamid.core.planner.offer import (
    Evaluation,
    Offer,
    idle_instances,
    make_offer,
    reclaimable,
    seats_of,
)
from hamid.core.planner.plan import Consideration
from hamid.core.planner.reasons import (
    GpuFacts,
    IdleInTheWay,
    NoFreePlacement,
    NoProfileThatLarge,
    Reason,
    ReasonCode,
    UnknownProfile,
)
from hamid.core.planner.request import MemoryMatch, Request, Size, nvml_size, satisfies
from hamid.core.planner.seating import best_seats
from hamid.core.planner.templates import TemplateTable


def offer_packed(gpu: Gpu, request: Request, count: int, table: TemplateTable) -> Evaluation:
    """`count` instances on this GPU at any legal placements."""
    search = _PackedSearch(gpu, request, count, table)
    if not search.sizes:
        return search.refused(search.too_large())
    offer = search.offer()
    return search.refused(search.no_room()) if offer is None else search.accepted(offer)


class _PackedSearch:
    """The search over one GPU's legal placements."""

    def __init__(self, gpu: Gpu, request: Request, count: int, table: TemplateTable) -> None:
        self.gpu = gpu
        self.request = request
        self.count = count
        self.board: Board = board_of(gpu.profiles)
        claimed = self._claimed(table) if request.memory_match is MemoryMatch.TEMPLATE else ()
        self.sizes = _sizes(self.board, gpu.memory_mib or 0, request, claimed)
        self.idle = idle_instances(gpu)

    def _claimed(self, table: TemplateTable) -> tuple[tuple[str, int], ...]:
        """What the model's templates say that profiles have."""
        entry = table.lookup(self.gpu.name)
        return tuple((slot.name, slot.memory_mib) for t in (entry.templates if entry else ()) for slot in t.slots)

    def offer(self) -> Offer | None:
        """The offer that destroys the fewest idle instances, wastes the least memory and keeps the most choices."""
        for going in self._sacrifices():
            staying = [instance for instance in self.idle if instance not in going]
            seats = self._seats(staying)
            if seats is not None:
                return make_offer(self.gpu, self.board, seats)
        return None

    def _sacrifices(self) -> Iterator[tuple[Instance, ...]]:
        """Sets of idle instances that may be destroyed, the smallest first."""
        allowed = [instance for instance in self.idle if reclaimable(instance, self.request)]
        for number in range(len(allowed) + 1):
            yield from combinations(allowed, number)

    def _seats(self, staying: Sequence[Instance]) -> tuple[Seat, ...] | None:
        """All seats of the request beside the used and the staying instances, reused ones first; None if impossible."""
        reusable = self._reusable(staying)
        smallest = [seat for seat in reusable if seat.profile == self.sizes[0].profile]
        # A larger idle instance is better left for a larger request, unless nothing else can be done.
        for reused in (smallest[: self.count], reusable[: self.count]):
            created = self._created(staying, self.count - len(reused))
            if created is not None:
                return (*reused, *created)
        return None

    def _reusable(self, staying: Sequence[Instance]) -> list[Seat]:
        order = {size.profile.profile_id: size.order for size in self.sizes}
        seats = [seat for seat in seats_of(self.gpu, staying) if seat.profile.profile_id in order]
        return sorted(seats, key=lambda seat: (order[seat.profile.profile_id], seat.placement.start))

    def _created(self, staying: Sequence[Instance], number: int) -> tuple[Seat, ...] | None:
        """Seats for `number` new instances: the smallest sufficient profiles that can be seated together."""
        occupied = self.board.occupy(seats_of(self.gpu, [*self.gpu.used_instances, *staying]))
        free_slices = self.board.axis - occupied.mask.bit_count()
        free_compute = self.board.compute_slices - occupied.compute_slices
        named = self.request.profile is not None
        for choice in _combinations(self.board, tuple(size.profile.profile_id for size in self.sizes), number):
            if choice.slices <= free_slices and choice.compute_slices <= free_compute:
                seats = best_seats(self.board, occupied, choice.profiles, named=named)
                if seats is not None:
                    return seats
        return None

    def accepted(self, offer: Offer) -> Evaluation:
        """The offer, with its seats as the verdict."""
        seats = ", ".join(str(grant.seat) for grant in offer.grants)
        return Evaluation(offer, (self._consider(None, f"holds the request at {seats}"),))

    def refused(self, facts: GpuFacts) -> Evaluation:
        """The reason, also as the verdict on this GPU."""
        return Evaluation(Reason(gpu=self.gpu.index, facts=facts), (self._consider(facts.code, facts),))

    def _consider(self, code: ReasonCode | None, verdict: GpuFacts | str) -> Consideration:
        what = "any legal placement"
        return Consideration(gpu=self.gpu.index, template=None, what=what, code=code, verdict=verdict)

    def too_large(self) -> UnknownProfile | NoProfileThatLarge:
        """Why no profile of this GPU satisfies the request."""
        if self.request.profile is not None and self.board.named(self.request.profile) is None:
            return UnknownProfile(self.request.profile, tuple(profile.name for profile in self.board.profiles))
        largest = max((profile.memory_mib for profile in self.gpu.profiles if not profile.suffix), default=0)
        return NoProfileThatLarge(self.request.size, largest)

    def no_room(self) -> IdleInTheWay | NoFreePlacement:
        """Why no legal placement is left: idle instances that must stay, or instances in use."""
        foreign = tuple(instance for instance in self.idle if not reclaimable(instance, self.request))
        wanted = self.request.times(self.count)
        if foreign and self._without_idle():
            return IdleInTheWay(wanted, foreign)
        return NoFreePlacement(wanted, self.gpu.used_instances)

    def _without_idle(self) -> bool:
        return self._created((), self.count) is not None


@lru_cache(maxsize=256)
def _sizes(
    board: Board, gpu_memory_mib: int, request: Request, claimed: tuple[tuple[str, int], ...]
) -> tuple[Size, ...]:
    """The profiles that satisfy a request, smallest first; equal GPUs share the answer."""
    memory = dict(claimed)
    own = [nvml_size(profile, board.multiprocessors) for profile in board.profiles]
    sizes = [Size(s.profile, memory.get(s.profile.name, s.memory_mib), s.cores_percent) for s in own]
    return tuple(sorted((s for s in sizes if satisfies(s, request, gpu_memory_mib)), key=lambda size: size.order))


class _ProfileCombination(NamedTuple):
    """Profiles for several instances together, and the memory and compute slices that they take."""

    profiles: tuple[Profile, ...]
    slices: int
    compute_slices: int


@lru_cache(maxsize=1024)
def _combinations(board: Board, profile_ids: tuple[int, ...], number: int) -> tuple[_ProfileCombination, ...]:
    """Every choice of `number` profiles that an empty board has the slices for, the least wasteful first."""
    found: list[_ProfileCombination] = []

    def extend(chosen: tuple[Profile, ...], first: int, slices: int, compute_slices: int) -> None:
        if slices > board.axis or compute_slices > board.compute_slices:
            return
        if len(chosen) == number:
            found.append(_ProfileCombination(chosen, slices, compute_slices))
            return
        for position in range(first, len(profile_ids)):
            profile = board.profiles[board.index[profile_ids[position]]]
            extend((*chosen, profile), position, slices + profile.size, compute_slices + profile.compute_slices)

    extend((), 0, 0, 0)
    return tuple(sorted(found, key=_waste))


def _waste(choice: _ProfileCombination) -> tuple[int, int, int]:
    return (sum(profile.memory_mib for profile in choice.profiles), choice.compute_slices, choice.slices)
