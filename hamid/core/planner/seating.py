# SPDX-License-Identifier: Apache-2.0
"""The packed policy's two decisions: where in a GPU a request lies, and which GPU loses least by taking it.

    best_seats(board, occupied, wanted) -> seats of all of `wanted`, or None
    cost(board, before, after)          -> what later requests lose; least is best, over all boards of a node

Both are deterministic. The search is exact: it visits every state that the request can lead to and keeps the one
that is worth most to later requests (packing_worth says what that means).
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from hamid.core.hardware.board import Board, Occupancy
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Placement, Profile
from hamid.core.planner.worth import beyond_memory, worth

_NOWHERE = Placement(start=0, size=0)
# Answers kept; GPUs in the same state share one.
_REMEMBERED = 1 << 12
# Four times what today's boards reach; beyond it the search keeps the lowest starts and asks for existence alone.
_STATES = 1 << 10


def best_seats(
    board: Board, occupied: Occupancy, wanted: Sequence[Profile], *, named: bool = False
) -> tuple[Seat, ...] | None:
    """Seats for all of `wanted` beside what is occupied, largest first, or None if no legal seating exists.

    Among all seatings it is one that costs later requests least, then the one with the lowest starts. The order of
    `wanted` does not matter. `named` says that profiles are asked by name, so that later requests may ask any.
    """
    counted = Counter(profile.profile_id for profile in wanted)
    if not all(profile_id in board.index for profile_id in counted):
        return None
    return _best_seats(board, occupied, tuple(sorted(counted.items())), named)


def cost(board: Board, before: Occupancy, after: Occupancy, *, named: bool = False) -> float:
    """What the change from `before` to `after` loses for later requests, in MiB of places; less is better."""
    every_shape = named or _shows_other_shapes(board, after)
    return worth(board, before, every_shape) - worth(board, after, every_shape)


@lru_cache(maxsize=_REMEMBERED)
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
