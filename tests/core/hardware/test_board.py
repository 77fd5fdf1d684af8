# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.narrow import present

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Placement
from hamid.testing.boards import known_boards, profiles_of

BOARDS = st.sampled_from(known_boards())


def seats_on(board):
    return [Seat(profile, place) for profile in board.profiles for place in profile.placements]


def legal(board, seats):
    """The rules once more, written the plain way: no overlap, budgets over the whole set."""
    apart = all(
        a.placement.end <= b.placement.start or b.placement.end <= a.placement.start
        for a, b in itertools.combinations(seats, 2)
    )
    slices = sum(seat.profile.compute_slices for seat in seats) <= board.compute_slices
    counts = all(sum(s.profile == p for s in seats) <= p.max_instances for p in board.profiles)
    whole = [p for p in board.profiles if p.size == board.axis]
    engines = not whole or all(
        sum(getattr(seat.profile.engines, kind) for seat in seats) <= max(getattr(p.engines, kind) for p in whole)
        for kind in ("decoders", "encoders", "jpeg", "ofa")
    )
    return apart and slices and counts and engines


@given(BOARDS, st.data())
def test_fits_agrees_with_the_plain_rules_at_every_step(name, data):
    """In every order of instances, `fits` accepts exactly those that keep the whole set legal."""
    board = board_of(profiles_of(name))
    occupancy = board.empty
    seated: list[Seat] = []
    for seat in data.draw(st.lists(st.sampled_from(seats_on(board)), max_size=12)):
        fits = board.fits(occupancy, seat)
        assert fits == legal(board, [*seated, seat])
        if fits:
            occupancy, seated = board.add(occupancy, seat), [*seated, seat]
    assert occupancy == board.occupy(seated)


@given(BOARDS, st.data())
def test_arrangements_are_all_the_legal_ones_and_each_once(name, data):
    """The search for placements misses nothing and repeats nothing, compared with trying every combination."""
    board = board_of(profiles_of(name))
    wanted = sorted(
        data.draw(st.lists(st.sampled_from(board.profiles), min_size=1, max_size=3)), key=lambda p: p.profile_id
    )
    found = [frozenset(seats) for seats in board.arrangements(board.empty, wanted)]
    every = {
        frozenset(seats)
        for seats in itertools.product(*[[Seat(p, place) for place in p.placements] for p in wanted])
        if legal(board, seats)
    }
    assert len(found) == len(set(found))
    assert set(found) == every
    assert board.can_seat(board.empty, wanted) == bool(every)


@pytest.mark.parametrize(
    ("name", "axis", "slices"),
    [("A100-40GB", 8, 7), ("A30-24GB", 4, 4), ("RTX-PRO-6000-Blackwell-96GB", 12, 4), ("B200-180GB", 8, 7)],
)
def test_a_boards_budgets_are_read_off_its_profiles(name, axis, slices):
    """No axis length is assumed: 4, 8 and 12 come out of the profiles, also where the full-GPU profile is unknown."""
    board = board_of(profiles_of(name))
    assert (board.axis, board.compute_slices) == (axis, slices)


def test_two_halves_leave_no_compute_slice_for_a_small_one():
    """On an A100 3g+3g uses 6 of 7 compute slices but all of the memory (NVIDIA MIG guide): nothing else fits."""
    board = board_of(profiles_of("A100-40GB"))
    half = present(board.named("3g.20gb"))
    occupancy = board.occupy(Seat(half, place) for place in half.placements)
    assert not any(board.creatable(occupancy).values())


def test_media_profiles_exclude_each_other():
    """Of the profiles that need the only OFA engine of an A30 any one instance fits."""
    board = board_of(profiles_of("A30-24GB"))
    small, large = present(board.named("1g.6gb+me")), present(board.named("2g.12gb+me"))
    occupancy = board.add(board.empty, Seat(small, small.placements[0]))
    assert not board.free_placements(occupancy, large)


@pytest.mark.parametrize("name", known_boards())
@given(data=st.data())
def test_what_can_be_created_is_what_fits_one_after_the_other(name, data):
    """For each profile alone the number of instances is found by trying, and so is the freedom that remains."""
    board = board_of(profiles_of(name))
    occupancy = board.empty
    for profile in data.draw(st.lists(st.sampled_from(board.profiles), max_size=3)):
        places = board.free_placements(occupancy, profile)
        if places:
            occupancy = board.add(occupancy, Seat(profile, places[-1]))
    capacity = board.creatable(occupancy)
    for profile in board.profiles:
        most = 0
        while board.can_seat(occupancy, [profile] * (most + 1)):
            most += 1
        # Lowest first, as NVML counts, may leave a gap that another order would use.
        assert (capacity[profile.name] == 0) is (most == 0)
        assert capacity[profile.name] <= most
    assert board.later_choices(occupancy) == sum(
        board.fits(occupancy, Seat(profile, place)) for profile in board.profiles for place in profile.placements
    )


def test_an_instance_of_an_unlisted_profile_takes_its_slices_alone():
    """A profile that the driver no longer lists has no budget of its own, and is in the way all the same."""
    board = board_of(profiles_of("A30-24GB"))
    unlisted = replace(board.profiles[0], name="9g.9gb", profile_id=99, compute_slices=2)
    occupancy = board.occupy([Seat(unlisted, Placement(start=1, size=2))])
    assert occupancy == board.empty._replace(mask=0b110, compute_slices=2)
    assert board.named("9g.9gb") is None
