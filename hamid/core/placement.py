# SPDX-License-Identifier: Apache-2.0
"""The rules of placing instances on one GPU, for any board that NVML describes.

A set of instances is legal when their placements do not overlap, their compute slices and media engines stay within
the GPU's, and no profile occurs more often than its maximum. Nothing here knows a board: axis, slices and budgets
are read off the profiles.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from hamid.core.geometry import Seat
from hamid.core.profile import Engines, Placement, Profile


class Occupancy(NamedTuple):
    """What is taken on a GPU: memory slices as bits, compute slices, engines, and instances per profile index."""

    mask: int
    compute_slices: int
    engines: Engines
    counts: tuple[int, ...]


class Board:
    """The budgets of one GPU and the legal moves on it, derived from its profiles."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.profiles = tuple(sorted(profiles, key=lambda profile: profile.order))
        self.index = {profile.profile_id: number for number, profile in enumerate(self.profiles)}
        self.axis = max((place.end for p in profiles for place in p.placements), default=0)
        # The full-GPU profile may be unknown to a driver; seven times 1g says as much.
        self.compute_slices = max((p.compute_slices * p.max_instances for p in profiles), default=0)
        self.engines = _engine_budget(profiles, self.axis)
        self.empty = Occupancy(0, 0, Engines(), (0,) * len(self.profiles))

    def named(self, name: str) -> Profile | None:
        """The profile of that name, or None."""
        return next((profile for profile in self.profiles if profile.name == name), None)

    def fits(self, occupancy: Occupancy, seat: Seat) -> bool:
        """True when an instance may be created at `seat` beside what is taken."""
        return not occupancy.mask & seat.placement.mask and self.has_budget(occupancy, seat.profile)

    def has_budget(self, occupancy: Occupancy, profile: Profile) -> bool:
        """True when compute slices, engines and the profile's maximum leave room, wherever it would lie."""
        return (
            occupancy.compute_slices + profile.compute_slices <= self.compute_slices
            and occupancy.counts[self.index[profile.profile_id]] < profile.max_instances
            and (self.engines is None or occupancy.engines.plus(profile.engines).within(self.engines))
        )

    def add(self, occupancy: Occupancy, seat: Seat) -> Occupancy:
        """The occupancy with one more instance; the caller has asked `fits`.

        A profile that the driver no longer lists takes its memory slices and no countable budget.
        """
        number = self.index.get(seat.profile.profile_id)
        counts = occupancy.counts
        if number is not None:
            counts = (*counts[:number], counts[number] + 1, *counts[number + 1 :])
        return Occupancy(
            occupancy.mask | seat.placement.mask,
            occupancy.compute_slices + seat.profile.compute_slices,
            occupancy.engines.plus(seat.profile.engines),
            counts,
        )

    def occupy(self, seats: Iterable[Seat]) -> Occupancy:
        """All seats together, legal or not: what a driver reports is taken as it is."""
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
        """How many (profile, start) pairs remain creatable: more is more freedom for later requests."""
        return sum(len(self.free_placements(occupancy, profile)) for profile in self.profiles)

    def arrangements(self, occupancy: Occupancy, wanted: Sequence[Profile]) -> Iterator[tuple[Seat, ...]]:
        """Every way to seat all of `wanted`, each set of seats once; lower starts come first.

        Equal profiles must stand together in `wanted`.
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
        return next(self.arrangements(occupancy, wanted), None) is not None


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
