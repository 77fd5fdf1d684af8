# SPDX-License-Identifier: Apache-2.0
"""The rules for placing instances on one GPU, for any board that NVML describes.

A set of instances is legal when their placements do not overlap, their compute slices and media engines stay within
the GPU's, and no profile occurs more often than its maximum. No board is hard-coded: axis, slices and budgets
come from the profiles.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Engines, Placement, Profile

# The highest bit of each 16-bit field of packed engine counts: it survives a subtraction that does not run short.
_GUARD = 0x8000_8000_8000_8000


class Occupancy(NamedTuple):
    """What is taken on a GPU: memory slices as bits, compute slices, packed engines, instances per profile index."""

    mask: int
    compute_slices: int
    engines: int
    counts: tuple[int, ...]


class Board:
    """The budgets of one GPU and the legal moves on it, derived from its profiles."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.profiles = tuple(sorted(profiles, key=lambda profile: profile.order))
        self.index = {profile.profile_id: number for number, profile in enumerate(self.profiles)}
        self.axis = max((place.end for p in profiles for place in p.placements), default=0)
        # A driver may not list the full-GPU profile; seven times 1g gives the same value.
        self.compute_slices = max((p.compute_slices * p.max_instances for p in profiles), default=0)
        self.multiprocessors = max((p.multiprocessors for p in profiles), default=0)
        self.engines = _engine_budget(profiles, self.axis)
        self.empty = Occupancy(0, 0, 0, (0,) * len(self.profiles))
        self._engines = {profile.profile_id: profile.engines.packed for profile in profiles}
        self._guarded = None if self.engines is None else self.engines.packed | _GUARD
        self._by_name = {profile.name: profile for profile in self.profiles}

    def named(self, name: str) -> Profile | None:
        """The profile of that name, or None."""
        return self._by_name.get(name)

    def fits(self, occupancy: Occupancy, seat: Seat) -> bool:
        """True when an instance may be created at `seat` beside what is occupied."""
        return not occupancy.mask & seat.placement.mask and self.has_budget(occupancy, seat.profile)

    def has_budget(self, occupancy: Occupancy, profile: Profile) -> bool:
        """True when compute slices, engines and the profile's maximum allow one more, regardless of placement."""
        if (
            occupancy.compute_slices + profile.compute_slices > self.compute_slices
            or occupancy.counts[self.index[profile.profile_id]] >= profile.max_instances
        ):
            return False
        if self._guarded is None:
            return True
        return (self._guarded - occupancy.engines - self._engines[profile.profile_id]) & _GUARD == _GUARD

    def add(self, occupancy: Occupancy, seat: Seat) -> Occupancy:
        """The occupancy with one more instance; the caller must check `fits` first.

        A profile that the driver no longer lists takes its memory slices and no other budget.
        """
        mask, compute_slices, engines, counts = occupancy
        profile = seat.profile
        number = self.index.get(profile.profile_id)
        if number is None:
            return Occupancy(mask | seat.placement.mask, compute_slices + profile.compute_slices, engines, counts)
        return Occupancy(
            mask | seat.placement.mask,
            compute_slices + profile.compute_slices,
            engines + self._engines[profile.profile_id],
            (*counts[:number], counts[number] + 1, *counts[number + 1 :]),
        )

    def occupy(self, seats: Iterable[Seat]) -> Occupancy:
        """The occupancy of all seats, legal or not: the driver's report is not checked."""
        occupancy = self.empty
        for seat in seats:
            occupancy = self.add(occupancy, seat)
        return occupancy

    def free_placements(self, occupancy: Occupancy, profile: Profile) -> list[Placement]:
        """Where an instance of `profile` could be created now, lowest start first."""
        if not self.has_budget(occupancy, profile):
            return []
        return [place for place in profile.placements if not occupancy.mask & place.mask]

    def creatable(self, occupancy: Occupancy) -> dict[str, int]:
        """How many instances of each profile alone could still be created, as NVML's remaining capacity counts."""
        return {profile.name: self._capacity(occupancy, profile) for profile in self.profiles}

    def _capacity(self, occupancy: Occupancy, profile: Profile) -> int:
        count = 0
        while places := self.free_placements(occupancy, profile):
            occupancy = self.add(occupancy, Seat(profile, places[0]))
            count += 1
        return count

    def later_choices(self, occupancy: Occupancy) -> int:
        """How many (profile, start) pairs remain creatable: more pairs mean more freedom for later requests."""
        return sum(len(self.free_placements(occupancy, profile)) for profile in self.profiles)

    def arrangements(self, occupancy: Occupancy, wanted: Sequence[Profile]) -> Iterator[tuple[Seat, ...]]:
        """Every way to seat all of `wanted`, each set of seats once; lower starts come first.

        Equal profiles must be adjacent in `wanted`.
        """
        yield from self._arrange(occupancy, tuple(wanted), ())

    def _arrange(
        self, occupancy: Occupancy, wanted: tuple[Profile, ...], seated: tuple[Seat, ...]
    ) -> Iterator[tuple[Seat, ...]]:
        if not wanted:
            yield seated
            return
        profile = wanted[0]
        # Equal profiles are interchangeable: ascending starts name each set once.
        repeat = bool(seated) and seated[-1].profile.profile_id == profile.profile_id
        lowest = seated[-1].placement.start + 1 if repeat else 0
        for place in self.free_placements(occupancy, profile):
            if place.start >= lowest:
                seat = Seat(profile, place)
                yield from self._arrange(self.add(occupancy, seat), wanted[1:], (*seated, seat))

    def can_seat(self, occupancy: Occupancy, wanted: Sequence[Profile]) -> bool:
        """True when all of `wanted` can be created together beside what is taken."""
        return _can_seat(self, occupancy, tuple(profile.profile_id for profile in wanted))


@lru_cache(maxsize=1 << 14)
def _can_seat(board: Board, occupancy: Occupancy, profile_ids: tuple[int, ...]) -> bool:
    wanted = [board.profiles[board.index[profile_id]] for profile_id in profile_ids]
    return next(board.arrangements(occupancy, wanted), None) is not None


def _engine_budget(profiles: Sequence[Profile], axis: int) -> Engines | None:
    """The engines of the profile that spans the whole GPU, or None where no such profile is known."""
    whole = [p.engines for p in profiles if any(place.size == axis for place in p.placements)]
    if not whole:
        return None
    return Engines(
        decoders=max(engines.decoders for engines in whole),
        encoders=max(engines.encoders for engines in whole),
        jpeg=max(engines.jpeg for engines in whole),
        ofa=max(engines.ofa for engines in whole),
    )


@lru_cache(maxsize=64)
def board_of(profiles: tuple[Profile, ...]) -> Board:
    """The board for these profiles; equal GPUs share one."""
    return Board(profiles)
