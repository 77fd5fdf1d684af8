# SPDX-License-Identifier: Apache-2.0
"""How long the packed policy takes to choose seats and GPU on a node of 16 GPUs with random occupancy.

    python benchmarks/placement_time.py

`cold` forgets everything before each plan, as the first plan of a process does; `warm` is a daemon's plan.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

from hamid.core.hardware.board import Board
from hamid.core.hardware.geometry import Seat
from hamid.core.planner import seating
from hamid.core.planner.seating import best_seats, cost
from hamid.testing.boards import profiles_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hamid.core.hardware.board import Occupancy
    from hamid.core.hardware.profile import Profile

_GPUS = 16
_PLANS = 300


def random_occupancy(board: Board, dice: random.Random) -> Occupancy:
    """Up to five instances at random places, none that takes the whole GPU."""
    occupied = board.empty
    for _ in range(dice.randrange(6)):
        seats = [Seat(p, place) for p in board.profiles for place in board.free_placements(occupied, p)]
        seats = [seat for seat in seats if seat.placement.size < board.axis]
        if seats:
            occupied = board.add(occupied, dice.choice(seats))
    return occupied


def plan(board: Board, node: Sequence[Occupancy], wanted: Sequence[Profile]) -> tuple[float, int] | None:
    """The least cost and its GPU."""
    prices = []
    for gpu, occupied in enumerate(node):
        after = occupied
        seats = best_seats(board, occupied, wanted)
        for seat in seats or ():
            after = board.add(after, seat)
        if seats is not None:
            prices.append((cost(board, occupied, after), gpu))
    return min(prices, default=None)


def forget() -> None:
    """Empties every cache of the policy."""
    for item in vars(seating).values():
        if hasattr(item, "cache_clear"):
            item.cache_clear()


def milliseconds(board: Board, size: int, *, cold: bool) -> list[float]:
    """The times of many plans for `size` instances of random plain profiles."""
    dice = random.Random(size)
    plain = [profile for profile in board.profiles if not profile.suffix and profile.size < board.axis]
    times = []
    for _ in range(_PLANS):
        node = [random_occupancy(board, dice) for _ in range(_GPUS)]
        if size > 1:
            # On a half-used GPU seven instances end at once; half of the GPUs are idle, where the search is longest.
            node[::2] = [board.empty] * len(node[::2])
        wanted = [plain[0]] * (size - 1) + [dice.choice(plain)] if dice.random() < 0.5 else dice.choices(plain, k=size)
        if cold:
            forget()
        begun = time.perf_counter()
        plan(board, node, wanted)
        times.append(1000 * (time.perf_counter() - begun))
    return sorted(times)


def main() -> None:
    """One line per board, size and temperature."""
    for name in ("A100-40GB", "A30-24GB", "RTX-PRO-6000-Blackwell-96GB"):
        board = Board(profiles_of(name))
        for size in (1, 7):
            for cold in (True, False):
                times = milliseconds(board, size, cold=cold)
                print(
                    f"{name:28} {size} instance(s) {'cold' if cold else 'warm'}  median {statistics.median(times):6.3f}"
                    f"  95 % {times[int(0.95 * len(times))]:6.3f}  longest {times[-1]:6.3f} ms"
                )


if __name__ == "__main__":
    main()
