# SPDX-License-Identifier: Apache-2.0
"""The placement policies that benchmarks/placement.py compares, as state machines of one GPU.

A policy says what a GPU in some state would do with a request (its cost, the next state, a token) and what the state
is after that token's instance has ended. The GPU with the least cost takes the request, the first of equals.
States are hashable values; what was computed once is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from hamid.core.hardware.board import Board, board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.planner.seating import best_seats, cost, worth
from hamid.node.config.files import builtin_templates
from hamid.testing.boards import gpu_of, profiles_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from hamid.core.hardware.board import Occupancy
    from hamid.core.hardware.profile import Placement, Profile
    from hamid.core.planner.templates import Template


class Ask(NamedTuple):
    """A class of requests: some memory, or a profile by name; `slices` is its weight in the acceptance by slices."""

    title: str
    memory_mib: int
    slices: int
    profile: Profile | None = None


class Move(NamedTuple):
    """What a GPU would do: `cost` is compared among GPUs, `token` names the instance at its end."""

    cost: float
    state: Hashable
    token: Hashable


class Policy:
    """One GPU under one policy, its states numbered; `options[state][ask]` is (cost, next state, token) or None."""

    def __init__(self, name: str, rule: Rule, asks: list[Ask]) -> None:
        self.name = name
        self._rule = rule
        self._asks = asks
        self._numbers: dict[Hashable, int] = {}
        self._states: list[Hashable] = []
        self._after: dict[tuple[int, Hashable], int] = {}
        self.options: list[list[tuple[float, int, Hashable] | None] | None] = []
        self.start = self._number(rule.start)

    def choices(self, state: int) -> list[tuple[float, int, Hashable] | None]:
        """The options of a state, computed at its first visit."""
        known = self.options[state]
        if known is None:
            moves = [self._rule.move(self._states[state], ask) for ask in self._asks]
            known = [None if move is None else (move.cost, self._number(move.state), move.token) for move in moves]
            self.options[state] = known
        return known

    def leave(self, state: int, token: Hashable) -> int:
        """The state after the token's instance has ended."""
        known = self._after.get((state, token))
        if known is None:
            known = self._after[state, token] = self._number(self._rule.leave(self._states[state], token))
        return known

    def _number(self, state: Hashable) -> int:
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
            self.options.append(None)
        return self._numbers[state]


class Rule:
    """A policy's law: where a request goes in a GPU and what the GPU asks for it. States are sets of seats."""

    start: Hashable = frozenset()

    def __init__(self, board: Board) -> None:
        self.board = board

    def move(self, state: Hashable, ask: Ask) -> Move | None:
        """The smallest sufficient profile that has a free placement, where the rule prefers it."""
        seats = cast("frozenset[tuple[int, Placement]]", state)
        occupied = self.board.occupy(Seat(self.board.profiles[number], place) for number, place in seats)
        for profile in sufficient(self.board, ask):
            if self.board.free_placements(occupied, profile):
                place = self.place(occupied, profile, ask)
                token = (self.board.index[profile.profile_id], place)
                after = self.board.add(occupied, Seat(profile, place))
                return Move(self.price(occupied, after, ask), seats | {token}, token)
        return None

    def leave(self, state: Hashable, token: Hashable) -> Hashable:
        """The seats without the one that ended."""
        return cast("frozenset[Hashable]", state) - {token}

    def place(self, occupied: Occupancy, profile: Profile, _ask: Ask) -> Placement:
        """The placement inside the GPU; the profile has a free one."""
        return self.board.free_placements(occupied, profile)[0]

    def price(self, _occupied: Occupancy, _after: Occupancy, _ask: Ask) -> float:
        """What the GPU asks; the same everywhere means the first GPU."""
        return 0


class Hami210(Rule):
    """HAMi 2.10: 1g and 3g at the highest start, others at the lowest, first GPU."""

    def place(self, occupied: Occupancy, profile: Profile, _ask: Ask) -> Placement:
        """By the first two letters of the profile's name, as HAMi does it."""
        places = self.board.free_placements(occupied, profile)
        return places[-1] if profile.name[:2] in {"1g", "3g"} else places[0]


class BestFit(Rule):
    """The GPU with the fewest free slices; in it NVIDIA's driver rule: most creatable pairs, then lowest start."""

    def place(self, occupied: Occupancy, profile: Profile, _ask: Ask) -> Placement:
        """As the driver's default placement."""
        return max(
            self.board.free_placements(occupied, profile),
            key=lambda place: (
                self.board.later_choices(self.board.add(occupied, Seat(profile, place))),
                -place.start,
            ),
        )

    def price(self, occupied: Occupancy, _after: Occupancy, _ask: Ask) -> float:
        """The free slices before."""
        return self.board.axis - occupied.mask.bit_count()


class Packed(Rule):
    """Ours: hamid.core.planner.seating."""

    def place(self, occupied: Occupancy, profile: Profile, ask: Ask) -> Placement:
        """The search's answer for one instance."""
        seats = best_seats(self.board, occupied, [profile], named=ask.profile is not None)
        assert seats is not None
        return seats[0].placement

    def price(self, occupied: Occupancy, after: Occupancy, ask: Ask) -> float:
        """The loss of worth."""
        return cost(self.board, occupied, after, named=ask.profile is not None)


class Repack(Rule):
    """Moves running instances inside a GPU whenever that helps: states are counts. No policy without moves does it."""

    def __init__(self, board: Board, value: Callable[[Board, Occupancy, Ask], float]) -> None:
        super().__init__(board)
        self._value = value
        self._known: dict[tuple[tuple[int, ...], bool], float | None] = {}
        self.start = (0,) * len(board.profiles)

    def move(self, state: Hashable, ask: Ask) -> Move | None:
        """Takes a request if any arrangement of all instances can."""
        counts: tuple[int, ...] = state  # type: ignore[assignment]
        for profile in sufficient(self.board, ask):
            number = self.board.index[profile.profile_id]
            after = (*counts[:number], counts[number] + 1, *counts[number + 1 :])
            value = self._best(after, ask)
            if value is not None:
                return Move((self._best(counts, ask) or 0) - value, after, number)
        return None

    def leave(self, state: Hashable, token: Hashable) -> Hashable:
        """One less of the profile."""
        counts: tuple[int, ...] = state  # type: ignore[assignment]
        number: int = token  # type: ignore[assignment]
        return (*counts[:number], counts[number] - 1, *counts[number + 1 :])

    def _best(self, counts: tuple[int, ...], ask: Ask) -> float | None:
        key = (counts, ask.profile is not None)
        if key not in self._known:
            self._known[key] = max(
                (self._value(self.board, occupancy, ask) for occupancy in self._arrangements(counts)), default=None
            )
        return self._known[key]

    def _arrangements(self, counts: tuple[int, ...]) -> Iterator[Occupancy]:
        wanted = [p for p, count in zip(self.board.profiles, counts, strict=True) for _ in range(count)]
        for seats in self.board.arrangements(self.board.empty, wanted):
            yield self.board.occupy(seats)


# A GPU's template and the slots in use; none while the GPU is idle.
_Kept: TypeAlias = "tuple[Template | None, tuple[str, ...]]"


class Templates(Rule):
    """HAMi 2.5: the first template that holds the request, kept while the GPU is in use; GPUs in use first."""

    start: Hashable = (None, ())

    def __init__(self, board: Board, templates: list[Template]) -> None:
        super().__init__(board)
        self.templates = templates

    def move(self, state: Hashable, ask: Ask) -> Move | None:
        """The smallest sufficient free slot of the GPU's template, or of the first template that has one."""
        kept, used = cast("_Kept", state)
        for template in self.templates if kept is None else [kept]:
            slot = self._slot(template, used, ask)
            if slot is not None:
                return Move(kept is None, (template, tuple(sorted((*used, slot)))), slot)
        return None

    def leave(self, state: Hashable, token: Hashable) -> Hashable:
        """The template is given up with the last instance."""
        template, used = cast("_Kept", state)
        left = list(used)
        left.remove(cast("str", token))
        return (template, tuple(left)) if left else self.start

    def _slot(self, template: Template, used: tuple[str, ...], ask: Ask) -> str | None:
        slots = sorted(template.slots, key=lambda slot: slot.memory_mib)
        for slot in slots:
            profile = self.board.named(slot.name)
            assert profile is not None
            slices = ask.profile.compute_slices if ask.profile else 0
            enough = slot.memory_mib >= ask.memory_mib and profile.compute_slices >= slices
            if enough and used.count(slot.name) < slot.count:
                return slot.name
        return None


def sufficient(board: Board, ask: Ask) -> list[Profile]:
    """What serves a request, smallest first: the named profile, or any plain one with enough memory."""
    if ask.profile is not None:
        return [ask.profile]
    return [p for p in board.profiles if not p.suffix and p.memory_mib >= ask.memory_mib]


def asks_of(board: Board, *, named: bool) -> list[Ask]:
    """The classes of requests for a board: each memory size of its plain profiles, or each plain profile."""
    plain = [profile for profile in board.profiles if not profile.suffix]
    if named:
        return [Ask(p.name, p.memory_mib, p.size, p) for p in plain]
    first = {profile.size: profile for profile in reversed(plain)}
    return [Ask(f"{p.memory_mib}MiB", p.memory_mib, size) for size, p in sorted(first.items())]


def policies_of(board_name: str, asks: list[Ask]) -> dict[str, Policy]:
    """Every policy for a board; `templates` is missing where HAMi has none for it."""
    board = board_of(profiles_of(board_name))
    rules: dict[str, Rule] = {
        "hami2.10": Hami210(board),
        "first-fit": Rule(board),
        "best-fit": BestFit(board),
        "packed": Packed(board),
        "repack-best-fit": Repack(board, lambda b, o, _ask: (b.axis - o.mask.bit_count()) ** 2),
        "repack-packed": Repack(board, lambda b, o, ask: worth(b, o, ask.profile is not None)),
    }
    entry = builtin_templates().lookup(gpu_of(board_name).name)
    if entry is not None:
        usable = [t for t in entry.templates if all(board.named(name) for name in t.geometry)]
        rules = {"hami2.5": Templates(board, usable), **rules}
    return {name: Policy(name, rule, asks) for name, rule in rules.items()}
