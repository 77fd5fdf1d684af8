# SPDX-License-Identifier: Apache-2.0
"""The packed policy's two decisions: where in a GPU a request lies, and which GPU loses least by taking it.

    best_seats(board, occupied, wanted) -> seats of all of `wanted`, or None
    cost(board, before, after)          -> what later requests lose; least is best, over all boards of a node

Both are deterministic. The search is exact: it visits every state that the request can lead to and keeps the one
that is worth most to later requests.

A window is a place where a later request could put an instance: a profile at one of its starts. It is worth its
profile's memory while it is free, and an eighth of that for every instance that must end before it is free. So large
free blocks are kept first, then those that are nearest to becoming large and free. How this was found, against what
it was measured and where it falls short: docs/decisions/0003-packed-placement.md.

Requests by memory get the smallest profile of a size, so only those profiles' windows count, until a request by name
or by cores appears: then every shape counts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from hamid.core.hardware.board import Board, Occupancy
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Placement, Profile

_NOWHERE = Placement(start=0, size=0)
# Answers kept; GPUs in the same state share one.
_KEPT_SEATINGS = 1 << 12
# Four times what today's boards reach; beyond it the search keeps the lowest starts and only tests existence.
_STATES = 1 << 10


def best_seats(
    board: Board, occupied: Occupancy, wanted: Sequence[Profile], *, named: bool = False
) -> tuple[Seat, ...] | None:
    """Seats for all of `wanted` beside what is occupied, largest first, or None if no legal seating exists.

    Among all seatings it is one that costs later requests least, then the one with the lowest starts. The order of
    `wanted` does not matter. `named`: the request names its profile, so later requests may name any profile.
    """
    counted = Counter(profile.profile_id for profile in wanted)
    if not all(profile_id in board.index for profile_id in counted):
        return None
    return _best_seats(board, occupied, tuple(sorted(counted.items())), named)


def cost(board: Board, before: Occupancy, after: Occupancy, *, named: bool = False) -> float:
    """What later requests lose by the change from `before` to `after`, in MiB of placements; less is better."""
    every_shape = named or _shows_other_shapes(board, after)
    return worth(board, before, every_shape) - worth(board, after, every_shape)


@lru_cache(maxsize=_KEPT_SEATINGS)
def _best_seats(
    board: Board,
    occupied: Occupancy,
    counted: tuple[tuple[int, int], ...],
    named: bool,  # noqa: FBT001  # a cache key
) -> tuple[Seat, ...] | None:
    wanted = _largest_first(board, counted)
    filled = _spend(board, occupied, wanted)
    if filled is None:
        return None
    every_shape = named or _shows_other_shapes(board, filled)
    reached = _seatings(board, occupied, wanted)
    best = min(
        reached,
        key=lambda mask: (-worth(board, filled._replace(mask=mask), every_shape), _starts(reached[mask])),
        default=None,
    )
    if best is None:
        return None
    return tuple(Seat(profile, place) for profile, place in zip(wanted, reached[best], strict=True))


def _shows_other_shapes(board: Board, occupancy: Occupancy) -> bool:
    """True when an instance is there that no request by memory would have got."""
    return any(occupancy.counts[number] for number in beyond_memory(board))


def _largest_first(board: Board, counted: Sequence[tuple[int, int]]) -> list[Profile]:
    """Equal profiles together, the hardest to seat first: that keeps the search narrow."""
    profiles = [board.profiles[board.index[profile_id]] for profile_id, count in counted for _ in range(count)]
    return sorted(profiles, key=lambda profile: (-profile.size, len(profile.placements), profile.profile_id))


def _spend(board: Board, occupied: Occupancy, wanted: Sequence[Profile]) -> Occupancy | None:
    """The budgets that are left do not depend on where instances lie: what is taken afterwards, or None."""
    for profile in wanted:
        if not board.has_budget(occupied, profile):
            return None
        occupied = board.add(occupied, Seat(profile, _NOWHERE))
    return occupied


def _seatings(board: Board, occupied: Occupancy, wanted: Sequence[Profile]) -> dict[int, tuple[Placement, ...]]:
    """Every set of slices that can be taken afterwards, with the first seating that leads to it."""
    reached: dict[int, tuple[Placement, ...]] = {occupied.mask: ()}
    whole = True
    for profile in wanted:
        reached = _seat_one(reached, profile)
        whole = whole and len(reached) <= _STATES
        if not whole:
            reached = dict(list(reached.items())[:_STATES])
    if reached or whole:
        return reached
    seats = next(board.arrangements(occupied, wanted), ())
    return {board.occupy(seats).mask | occupied.mask: tuple(seat.placement for seat in seats)} if seats else {}


def _seat_one(reached: dict[int, tuple[Placement, ...]], profile: Profile) -> dict[int, tuple[Placement, ...]]:
    found: dict[int, tuple[Placement, ...]] = {}
    places = [(place.mask, place) for place in profile.placements]
    for taken, seated in reached.items():
        for mask, place in places:
            if not taken & mask and taken | mask not in found:
                found[taken | mask] = (*seated, place)
    return found


def _starts(places: Sequence[Placement]) -> list[int]:
    return [place.start for place in places]


# A power of two keeps the sums exact, so that equal worth compares equal; the figures are flat from 1/20 to 1/3.
_NEARNESS = 1 / 8
# Few occupancies have more than a handful of layouts; the bound protects against hostile boards.
_LAYOUTS = 64
# All states of today's boards fit in; bounded, because a node may live for years.
_KEPT_STATES = 1 << 16


class _Windows(NamedTuple):
    """The windows of one profile, as bits, and what each is worth by the number of instances that must end first."""

    profile: Profile
    worth: tuple[float, ...]
    masks: tuple[int, ...]


@lru_cache(maxsize=_KEPT_STATES)
def worth(board: Board, occupancy: Occupancy, every_shape: bool) -> float:  # noqa: FBT001  # a cache key
    """What the free and soon free places are worth, in MiB; higher is better for later requests.

    An occupancy can stand for several layouts; it is worth as much as the best of them.
    """
    windows = _windows(board, every_shape)
    blocked = [not board.has_budget(occupancy, each.profile) for each in windows]
    return max(_worth_of(windows, blocked, layout) for layout in _layouts(board, occupancy))


@lru_cache(maxsize=64)
def beyond_memory(board: Board) -> tuple[int, ...]:
    """The indices of the plain profiles that no request by memory gets, as 2g and 4g on an A100."""
    ordinary = _plain(board, every_shape=False)
    return tuple(board.index[p.profile_id] for p in _plain(board, every_shape=True) if p not in ordinary)


def _worth_of(windows: Sequence[_Windows], blocked: Sequence[bool], layout: Sequence[int]) -> float:
    total = 0.0
    for each, without_budget in zip(windows, blocked, strict=True):
        for mask in each.masks:
            in_the_way = 0
            for instance in layout:
                if instance & mask:
                    in_the_way += 1
            # A spent budget recovers only when an instance ends, even where no slice is taken.
            total += each.worth[in_the_way or without_budget]
    return total


@lru_cache(maxsize=128)
def _windows(board: Board, every_shape: bool) -> tuple[_Windows, ...]:  # noqa: FBT001  # a cache key
    return tuple(
        _Windows(profile, _worth_by_nearness(profile), _masks(profile))
        for profile in _plain(board, every_shape=every_shape)
    )


def _worth_by_nearness(profile: Profile) -> tuple[float, ...]:
    """No more instances can lie in a window than it has slices."""
    memory = profile.memory_mib or profile.size
    return tuple(memory * _NEARNESS**number for number in range(profile.size + 1))


def _plain(board: Board, *, every_shape: bool) -> list[Profile]:
    """One profile per size, or per size, compute slices and starts; without suffix where the board has such."""
    plain = [profile for profile in board.profiles if not profile.suffix] or list(board.profiles)
    first: dict[object, Profile] = {}
    for profile in plain:
        first.setdefault((profile.compute_slices, _masks(profile)) if every_shape else profile.size, profile)
    return list(first.values())


def _masks(profile: Profile) -> tuple[int, ...]:
    return tuple(place.mask for place in profile.placements)


@lru_cache(maxsize=64)
def _all_masks(board: Board) -> tuple[tuple[int, ...], ...]:
    return tuple(_masks(profile) for profile in board.profiles)


def _layouts(board: Board, occupancy: Occupancy) -> list[list[int]]:
    """The instances' places as bits, for every layout that looks like this; at least one."""
    counted: dict[tuple[int, ...], int] = {}
    for masks, count in zip(_all_masks(board), occupancy.counts, strict=True):
        if count:
            counted[masks] = counted.get(masks, 0) + count
    # Large ones first: they have the fewest places, which keeps the search narrow.
    shapes = sorted(counted.items(), key=lambda shape: (-shape[0][0], shape[0]))
    wanted = [masks for masks, count in shapes for _ in range(count)]
    found = list(islice(_cover(wanted, 0, occupancy.mask), _LAYOUTS))
    # What a driver reports may contradict its own profiles; then each block is taken as one instance.
    return found or [list(_blocks(occupancy.mask))]


def _cover(wanted: Sequence[tuple[int, ...]], lowest: int, left: int) -> Iterator[list[int]]:
    """Every way to lay `wanted` into the taken slices; equal ones in ascending order, so that each set comes once."""
    if not wanted:
        # Slices that no profile explains belong to profiles that the driver no longer lists.
        yield list(_blocks(left))
        return
    masks = wanted[0]
    for number in range(lowest, len(masks)):
        if masks[number] & left == masks[number]:
            following = number + 1 if wanted[1:2] == [masks] else 0
            for rest in _cover(wanted[1:], following, left & ~masks[number]):
                yield [masks[number], *rest]


def _blocks(mask: int) -> Iterator[int]:
    """The maximal runs of set bits, lowest first."""
    while mask:
        lowest = mask & -mask
        block = mask & ~(mask + lowest)
        yield block
        mask &= ~block
