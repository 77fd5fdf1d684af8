# SPDX-License-Identifier: Apache-2.0
"""Traces of arrivals and departures, and their replay under one policy on a node of equal GPUs.

The model is a loss system: a request that finds no place is gone. Arrivals are Poisson, lifetimes exponential with
mean 1, classes independent. A trace depends on its row and seed alone, so that policies are compared in pairs.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from placement_policies import Ask, Policy

# Shares of the size classes, smallest first; a board with other classes gets the nearest of these (see `shares`).
_MIXES = {
    "uniform": (1.0, 1.0, 1.0, 1.0),
    "small": (0.50, 0.30, 0.15, 0.05),
    "big": (0.10, 0.20, 0.30, 0.40),
    "bimodal": (0.45, 0.05, 0.05, 0.45),
}
MIXES = tuple(_MIXES)
# Lifetimes that pass before anything is counted: what the empty start is worth is then forgotten (e**-6).
_WARM_UP = 6


class Row(NamedTuple):
    """One line of the report: what is offered to which node. `load` is offered slices over the node's slices."""

    board: str
    named: bool
    mix: str
    gpus: int
    load: float

    def __str__(self) -> str:
        asks = "names" if self.named else "memory"
        return f"{self.board:14.14} {asks:6} {self.mix:8} {self.gpus:3} {self.load:5.2f}"


class Arrival(NamedTuple):
    """A request at a time, its class, how long it stays, and whether it counts."""

    time: float
    ask: int
    end: float
    counted: bool


# The fields of Accepted.
KINDS = ("count", "slices")


@dataclass(frozen=True)
class Accepted:
    """Percent of the requests and percent of their slices that found a place."""

    count: float
    slices: float


def shares(mix: str, asks: Sequence[Ask]) -> list[float]:
    """The mix over the classes of a board: by rank of size, equal sizes divide their share."""
    sizes = sorted({ask.slices for ask in asks})
    weights: tuple[float, ...] = _MIXES[mix]
    if len(sizes) != len(weights):
        # Three sizes: the two in the middle are one.
        middle = (weights[1] + weights[2]) / 2 if mix == "uniform" else sum(weights[1:3])
        weights = (weights[0], middle, weights[3])
    together = [sum(ask.slices == size for ask in asks) for size in sizes]
    parts = [weights[sizes.index(ask.slices)] / together[sizes.index(ask.slices)] for ask in asks]
    if mix == "uniform":
        parts = [1.0] * len(asks)
    return [part / sum(parts) for part in parts]


def trace_of(row: Row, asks: Sequence[Ask], axis: int, length: int, seed: int) -> list[Arrival]:
    """`length` counted arrivals after the warm-up."""
    dice = random.Random(f"{row} {seed}")
    parts = shares(row.mix, asks)
    mean = sum(part * ask.slices for part, ask in zip(parts, asks, strict=True))
    rate = row.load * axis * row.gpus / mean
    warm_up = int(_WARM_UP * rate) + 50
    classes = dice.choices(range(len(asks)), weights=parts, k=warm_up + length)
    times = itertools.accumulate(dice.expovariate(rate) for _ in classes)
    return [
        Arrival(time, ask, time + dice.expovariate(1.0), number >= warm_up)
        for number, (time, ask) in enumerate(zip(times, classes, strict=True))
    ]


def replay(policy: Policy, trace: Sequence[Arrival], gpus: int, asks: Sequence[Ask]) -> Accepted:
    """The acceptance of one policy over one trace."""
    states = [policy.start] * gpus
    ends: list[tuple[float, int, int, Hashable]] = []
    offered = [0] * len(asks)
    taken = [0] * len(asks)
    for number, arrival in enumerate(trace):
        while ends and ends[0][0] <= arrival.time:
            _, _, gpu, token = heapq.heappop(ends)
            states[gpu] = policy.leave(states[gpu], token)
        chosen = _cheapest(policy, states, arrival.ask)
        offered[arrival.ask] += arrival.counted
        if chosen is not None:
            taken[arrival.ask] += arrival.counted
            # The serial number keeps the heap from comparing tokens.
            _, states[chosen], token = policy.choices(states[chosen])[arrival.ask]  # type: ignore[misc]  # it has one
            heapq.heappush(ends, (arrival.end, number, chosen, token))
    slices = [ask.slices for ask in asks]
    return Accepted(100 * sum(taken) / sum(offered), 100 * _dot(taken, slices) / _dot(offered, slices))


def _cheapest(policy: Policy, states: Sequence[int], ask: int) -> int | None:
    """The first GPU with the least cost, or None."""
    best, least = None, float("inf")
    options = policy.options
    for gpu, state in enumerate(states):
        option = (options[state] or policy.choices(state))[ask]
        if option is not None and option[0] < least:
            best, least = gpu, option[0]
    return best


def _dot(numbers: Sequence[int], weights: Sequence[int]) -> int:
    return sum(number * weight for number, weight in zip(numbers, weights, strict=True))
