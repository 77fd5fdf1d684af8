# SPDX-License-Identifier: Apache-2.0
"""The packed policy's two decisions: where in a GPU a request lies, and which GPU loses least by taking it.

    best_seats(board, occupied, wanted) -> seats of all of `wanted`, or None
    cost(board, before, after)          -> what later requests lose; least is best, over all boards of a node

Both are exact and deterministic: the search visits every state that the request can lead to, and keeps the one that
is worth most to later requests.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from hamid.core.geometry import Seat
from hamid.core.placement import Board, Occupancy
from hamid.core.profile import Profile

# Enough for every state of the boards known today; an unbounded memory would grow with hostile input.
_REMEMBERED = 1 << 16


def best_seats(board: Board, occupied: Occupancy, wanted: Sequence[Profile]) -> tuple[Seat, ...] | None:
    """Seats for all of `wanted` beside what is occupied, largest profiles first, or None if no legal seating exists.

    Among all seatings it is the one that costs later requests least; of equals the one with the lowest starts.
    """
    reached: dict[Occupancy, tuple[Seat, ...]] = {occupied: ()}
    for profile, count in _largest_first(wanted):
        for _ in range(count):
            reached = _seat_one(board, reached, profile)
    if not reached:
        return None
    return min(reached.items(), key=lambda item: (cost(board, occupied, item[0]), _starts(item[1])))[1]


def cost(board: Board, before: Occupancy, after: Occupancy) -> tuple[int, int]:
    """What the change from `before` to `after` loses for later requests."""
    return (_free(board, after), _choices(board, before) - _choices(board, after))


def _largest_first(wanted: Sequence[Profile]) -> list[tuple[Profile, int]]:
    """Equal profiles together, the hardest to seat first: that keeps the search narrow."""
    counted = Counter(profile.profile_id for profile in wanted)
    profiles = {profile.profile_id: profile for profile in wanted}
    order = sorted(profiles.values(), key=lambda profile: (-profile.size, -profile.compute_slices, profile.profile_id))
    return [(profile, counted[profile.profile_id]) for profile in order]


def _seat_one(
    board: Board, reached: dict[Occupancy, tuple[Seat, ...]], profile: Profile
) -> dict[Occupancy, tuple[Seat, ...]]:
    """Every occupancy that one more instance leads to, each with the first way that was found to get there."""
    found: dict[Occupancy, tuple[Seat, ...]] = {}
    for occupancy, seats in reached.items():
        for place in board.free_placements(occupancy, profile):
            seat = Seat(profile, place)
            found.setdefault(board.add(occupancy, seat), (*seats, seat))
    return found


def _starts(seats: tuple[Seat, ...]) -> list[int]:
    return [seat.placement.start for seat in seats]


def _free(board: Board, occupancy: Occupancy) -> int:
    return board.axis - occupancy.mask.bit_count()


@lru_cache(maxsize=_REMEMBERED)
def _choices(board: Board, occupancy: Occupancy) -> int:
    return board.later_choices(occupancy)
