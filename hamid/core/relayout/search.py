# SPDX-License-Identifier: Apache-2.0
"""Finds the layout that meets a target with the smallest change, and the reachable part if the target is blocked.

The number of instances of a target is fixed, so every idle instance that is kept saves one destruction and one
creation: the least change keeps the most. The search tries sets of kept instances, the largest first, and lets the
packed policy seat the rest; it is exact. Instances that may not be changed never move.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from hamid.core.hardware.board import Board, Occupancy
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Profile
from hamid.core.planner.seating import best_seats, cost
from hamid.core.relayout.target import Wanted


class Arrangement(NamedTuple):
    """Seats for everything wanted; `kept` of them hold an instance already. Less `loss` leaves more later choices."""

    seats: tuple[Seat, ...]
    kept: int
    loss: float

    @property
    def starts(self) -> list[int]:
        """Where the seats lie, in order."""
        return sorted(seat.placement.start for seat in self.seats)


class Hindrance(NamedTuple):
    """A blocked target: the staying instances that it could contain, and its seats without the others."""

    kept: tuple[Seat, ...]
    seats: tuple[Seat, ...]


def arrange(board: Board, occupied: Occupancy, wanted: Wanted, present: Sequence[Seat]) -> Arrangement | None:
    """Seats for all of `wanted` beside what is occupied, keeping as many of the present instances as possible.

    Among equals it prefers the arrangement that costs later requests least, then the lowest starts. None if no legal
    arrangement exists.
    """
    for seat in wanted.fixed:
        if not board.fits(occupied, seat):
            return None
        occupied = board.add(occupied, seat)
    given = {seat.key for seat in wanted.fixed}
    kept = sum(seat.key in given for seat in present)
    asked = {profile.profile_id for profile in wanted.free}
    loose = [seat for seat in present if seat.key not in given and seat.profile.profile_id in asked]
    for size in range(min(len(loose), len(wanted.free)), -1, -1):
        groups = combinations(loose, size)
        found = [each for group in groups if (each := _keeping(board, occupied, wanted.free, group)) is not None]
        if found:
            best = min(found, key=lambda each: (each.loss, each.starts))
            return best._replace(seats=(*wanted.fixed, *best.seats), kept=best.kept + kept)
    return None


def take(wanted: Wanted, present: Sequence[Seat]) -> tuple[Wanted, tuple[Seat, ...]]:
    """What remains of `wanted` after present instances serve it where they lie, and which of them serve."""
    fixed, free, taken = list(wanted.fixed), list(wanted.free), []
    for seat in present:
        if seat in fixed:
            fixed.remove(seat)
        elif seat.profile in free:
            free.remove(seat.profile)
        else:
            continue
        taken.append(seat)
    return Wanted(tuple(fixed), tuple(free)), tuple(taken)


def hindrance(board: Board, wanted: Wanted, staying: Sequence[Seat]) -> Hindrance:
    """The most unchangeable instances that the target can contain in place, and the target's seats beside those.

    If the seats fit beside everything that stays, no instance overlaps them: the GPU only has instances too many.
    """
    for size in range(len(staying), -1, -1):  # pragma: no branch: without any of them the target fits
        for group in combinations(staying, size):
            rest, taken = take(wanted, group)
            if len(taken) < size:
                continue
            beside = arrange(board, board.occupy(staying), rest, ()) or arrange(board, board.occupy(group), rest, ())
            if beside is not None:
                return Hindrance(taken, (*taken, *beside.seats))
    raise AssertionError("a target that was read fits on an empty board")  # pragma: no cover: as above


def reachable(
    board: Board, wanted: Wanted, serving: Sequence[Seat], staying: Sequence[Seat], present: Sequence[Seat]
) -> tuple[Seat, ...]:
    """The largest part of the target, by instances and then by memory, that fits beside everything that stays."""
    rest, taken = take(wanted, serving)
    occupied = board.occupy(staying)
    for size in range(len(rest.fixed) + len(rest.free), 0, -1):
        parts = (arrange(board, occupied, part, present) for part in _parts(rest, size))
        best = min((part for part in parts if part is not None), key=_preference, default=None)
        if best is not None:
            return (*taken, *best.seats)
    return taken


def _preference(part: Arrangement) -> tuple[int, int, float, list[int]]:
    return (-sum(seat.profile.memory_mib for seat in part.seats), -part.kept, part.loss, part.starts)


def _parts(wanted: Wanted, size: int) -> Iterator[Wanted]:
    """Every part of that many instances; equal parts come once."""
    seen = set()
    items: list[Seat | Profile] = [*wanted.fixed, *wanted.free]
    for group in combinations(items, size):
        if group not in seen:
            seen.add(group)
            fixed = tuple(item for item in group if isinstance(item, Seat))
            yield Wanted(fixed, tuple(item for item in group if isinstance(item, Profile)))


def _keeping(board: Board, occupied: Occupancy, free: Sequence[Profile], group: Sequence[Seat]) -> Arrangement | None:
    """The best seats when exactly this group is kept, or None where it cannot be."""
    left = Counter(profile.profile_id for profile in free)
    for seat in group:
        left[seat.profile.profile_id] -= 1
        if left[seat.profile.profile_id] < 0 or not board.fits(occupied, seat):
            return None
        occupied = board.add(occupied, seat)
    rest = [board.profiles[board.index[profile_id]] for profile_id in left.elements()]
    seats = best_seats(board, occupied, rest, named=True)
    if seats is None:
        return None
    for seat in seats:
        occupied = board.add(occupied, seat)
    return Arrangement((*group, *seats), len(group), cost(board, board.empty, occupied, named=True))
