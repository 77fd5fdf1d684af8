# SPDX-License-Identifier: Apache-2.0
"""What the best placement without moves accepts on one GPU, exactly, and what ours accepts.

    python benchmarks/placement_optimum.py [--named] [--board NAME] [--load LOAD]

The benchmark's loss model with one GPU is a Markov chain over the layouts. Every request is taken if it fits; only
its place can be chosen. Relative value iteration gives the long-run acceptance of the best choice of places for that
mix and load, which no rule can exceed, and of `packed`, which does not know the mix.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from placement_policies import Packed, Rule, asks_of, sufficient
from placement_trace import MIXES, shares

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat
from hamid.testing.boards import profiles_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from placement_policies import Ask

    from hamid.core.hardware.board import Board

_STEPS = 4000
_CLOSE = 1e-5


class Chain:
    """Layouts as numbers: where each kind of request may lead, and where the end of each instance leads."""

    def __init__(self, rule: Rule, asks: list[Ask], *, free_choice: bool) -> None:
        self._rule, self._free_choice = rule, free_choice
        self._numbers: dict[Hashable, int] = {frozenset(): 0}
        self._layouts: list[frozenset[tuple[int, object]]] = [frozenset()]
        self.arrivals: list[list[list[int]]] = []
        self.ends: list[list[int]] = []
        for layout in self._layouts:
            self.arrivals.append([[self._number(after) for after in self._choices(layout, ask)] for ask in asks])
            self.ends.append([self._number(layout - {seat}) for seat in layout])

    def _choices(self, layout: frozenset[tuple[int, object]], ask: Ask) -> list[Hashable]:
        if not self._free_choice:
            move = self._rule.move(layout, ask)
            return [] if move is None else [move.state]
        board = self._rule.board
        occupied = board.occupy(Seat(board.profiles[number], place) for number, place in layout)  # type: ignore[arg-type]
        for profile in sufficient(board, ask):
            places = board.free_placements(occupied, profile)
            if places:
                return [layout | {(board.index[profile.profile_id], place)} for place in places]
        return []

    def _number(self, layout: Hashable) -> int:
        if layout not in self._numbers:
            self._numbers[layout] = len(self._layouts)
            self._layouts.append(layout)  # type: ignore[arg-type]
        return self._numbers[layout]

    def reward(self, rates: list[float], rewards: list[float]) -> float:
        """The best long-run reward per unit of time when each class arrives at its rate."""
        most = max(len(ends) for ends in self.ends)
        clock = sum(rates) + most
        values = [0.0] * len(self.ends)
        classes = list(zip(rates, rewards, strict=True))
        for _ in range(_STEPS):
            fresh = [
                (
                    sum(
                        rate * (max(values[n] for n in after) + reward if after else values[state])
                        for (rate, reward), after in zip(classes, self.arrivals[state], strict=True)
                    )
                    + sum(values[n] for n in ends)
                    + (most - len(ends)) * values[state]
                )
                / clock
                for state, ends in enumerate(self.ends)
            ]
            steps = [new - old for new, old in zip(fresh, values, strict=True)]
            values = [value - fresh[0] for value in fresh]
            if max(steps) - min(steps) < _CLOSE * max(steps):
                break
        return clock * (max(steps) + min(steps)) / 2


def report(board: Board, asks: list[Ask], load: float) -> None:
    """Acceptance by count and by slices for every mix."""
    best = Chain(Rule(board), asks, free_choice=True)
    ours = Chain(Packed(board), asks, free_choice=False)
    for mix in MIXES:
        parts = shares(mix, asks)
        mean = sum(part * ask.slices for part, ask in zip(parts, asks, strict=True))
        rates = [part * load * board.axis / mean for part in parts]
        for kind, rewards in (("count", [1.0] * len(asks)), ("slices", [float(ask.slices) for ask in asks])):
            offered = sum(rate * reward for rate, reward in zip(rates, rewards, strict=True))
            figures = [100 * chain.reward(rates, rewards) / offered for chain in (best, ours)]
            print(
                f"{mix:8} load {load:4.2f} by {kind:6} best without moves {figures[0]:6.2f}  packed {figures[1]:6.2f}"
            )


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--named", action="store_true", help="requests name profiles instead of memory")
    parser.add_argument("--board", default="A100-40GB")
    parser.add_argument("--load", type=float, default=1.0)
    chosen = parser.parse_args()
    board = board_of(profiles_of(chosen.board))
    report(board, asks_of(board, named=chosen.named), chosen.load)


if __name__ == "__main__":
    main()
