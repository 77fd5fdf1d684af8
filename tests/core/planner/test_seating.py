# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.narrow import present

from hamid.core.hardware.board import Board, board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Engines, Placement, Profile
from hamid.core.planner import seating
from hamid.core.planner.seating import best_seats, cost
from hamid.testing.boards import known_boards, profiles_of

# No real board: five slices, overlapping odd sizes, scarce engines, slices that no small instance reaches.
STRANGE = Board(
    [
        Profile(
            name=name,
            profile_id=number,
            memory_mib=1000 * size,
            compute_slices=size,
            multiprocessors=1,
            max_instances=limit,
            placements=tuple(Placement(start=start, size=size) for start in starts),
            engines=Engines(decoders=size // 2, ofa=number % 2),
        )
        for number, (name, size, limit, starts) in enumerate(
            [
                ("1g.1gb", 1, 3, (0, 1, 2)),
                ("2g.2gb", 2, 2, (0, 1, 3)),
                ("3g.3gb", 3, 1, (0, 2)),
                ("5g.5gb", 5, 1, (0,)),
            ]
        )
    ]
)
BOARDS = st.sampled_from([*(board_of(profiles_of(name)) for name in known_boards()), STRANGE])
A100 = board_of(profiles_of("A100-40GB"))


@st.composite
def situations(draw, most=4):
    """A board, the seats that are taken on it, and profiles that are wanted."""
    board = draw(BOARDS)
    seats, occupied = [], board.empty
    for number in draw(st.lists(st.integers(0, 10_000), max_size=5)):
        free = [Seat(p, place) for p in board.profiles for place in board.free_placements(occupied, p)]
        if free:
            seats.append(free[number % len(free)])
            occupied = board.add(occupied, seats[-1])
    wanted = draw(st.lists(st.sampled_from(board.profiles), min_size=1, max_size=most))
    return board, seats, wanted


def legal(board, seats):
    """The rules written the plain way, over the whole set."""
    apart = all(
        a.placement.end <= b.placement.start or b.placement.end <= a.placement.start
        for a, b in itertools.combinations(seats, 2)
    )
    places = all(seat.placement in seat.profile.placements for seat in seats)
    slices = sum(seat.profile.compute_slices for seat in seats) <= board.compute_slices
    counts = all(sum(s.profile == p for s in seats) <= p.max_instances for p in board.profiles)
    whole = [p for p in board.profiles if p.size == board.axis]
    engines = not whole or all(
        sum(getattr(seat.profile.engines, kind) for seat in seats) <= max(getattr(p.engines, kind) for p in whole)
        for kind in ("decoders", "encoders", "jpeg", "ofa")
    )
    return apart and places and slices and counts and engines


@given(situations(), st.booleans())
def test_seats_serve_the_whole_request_and_break_no_rule(situation, named):
    """What is seated is what was wanted, beside what is there, within slices, engines and instance limits."""
    board, seats, wanted = situation
    found = best_seats(board, board.occupy(seats), wanted, named=named)
    if found is not None:
        assert sorted(seat.profile.name for seat in found) == sorted(profile.name for profile in wanted)
        assert legal(board, [*seats, *found])


@given(situations())
def test_a_request_is_seated_whenever_any_combination_of_placements_is_legal(situation):
    """The search refuses nothing that trying every combination would accept, on every board."""
    board, seats, wanted = situation
    every = itertools.product(*[[Seat(profile, place) for place in profile.placements] for profile in wanted])
    possible = any(legal(board, [*seats, *combination]) for combination in every)
    assert (best_seats(board, board.occupy(seats), wanted) is not None) == possible


@given(situations(most=3), st.booleans())
def test_no_other_seating_costs_less(situation, named):
    """The seating is the cheapest of all legal ones: the search is exact, not greedy."""
    board, seats, wanted = situation
    occupied = board.occupy(seats)
    grouped = sorted(wanted, key=lambda profile: profile.profile_id)
    prices = [
        cost(board, occupied, board.occupy([*seats, *each]), named=named)
        for each in board.arrangements(occupied, grouped)
    ]
    found = best_seats(board, occupied, wanted, named=named)
    if found is not None:
        assert cost(board, occupied, board.occupy([*seats, *found]), named=named) == min(prices)


@given(situations(), st.randoms(use_true_random=False))
def test_equal_gpus_are_interchangeable(situation, dice):
    """Order of instances, order of the request and identity of the board change neither seats nor cost."""
    board, seats, wanted = situation
    twin = Board(board.profiles)
    mixed, asked = list(seats), list(wanted)
    dice.shuffle(mixed)
    dice.shuffle(asked)
    here, there = board.occupy(seats), twin.occupy(mixed)
    found = best_seats(board, here, wanted)
    assert found == best_seats(twin, there, asked)
    if found is not None:
        after = board.occupy([*seats, *found])
        assert cost(board, here, after) == cost(twin, there, twin.occupy([*reversed(found), *mixed]))


@given(situations(), st.booleans())
def test_taking_places_never_gains_and_costs_are_exact(situation, named):
    """Every placement costs at least nothing, and a GPU that changes nothing costs exactly nothing."""
    board, seats, wanted = situation
    occupied = board.occupy(seats)
    assert cost(board, occupied, occupied, named=named) == 0
    found = best_seats(board, occupied, wanted, named=named)
    if found is not None:
        assert cost(board, occupied, board.occupy([*seats, *found]), named=named) >= 0


@given(situations(), st.integers(0, 11), st.integers(1, 12))
def test_an_instance_of_an_unlisted_profile_is_only_in_the_way(situation, start, size):
    """What the driver reports outside its own profiles, even on top of others, is avoided and breaks nothing."""
    board, seats, wanted = situation
    alien = Profile(
        name="9g.9gb",
        profile_id=99,
        memory_mib=9,
        compute_slices=0,
        multiprocessors=0,
        max_instances=1,
        placements=(Placement(start=start, size=size),),
    )
    occupied = board.occupy([*seats, Seat(alien, alien.placements[0])])
    found = best_seats(board, occupied, wanted)
    assert best_seats(board, occupied, [alien]) is None
    if found is not None:
        assert not any(seat.placement.mask & alien.placements[0].mask for seat in found)
        assert legal(board, [*seats, *found])


@settings(max_examples=20)  # each tries every seating
@given(situations())
def test_a_search_that_gives_up_on_the_best_still_finds_a_place(situation):
    """On a board with too many states the answer may be less than best, but is there whenever one exists."""
    board, seats, wanted = situation
    occupied = board.occupy(seats)
    best = best_seats(board, occupied, wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seating, "_STATES", 1)
        seating._best_seats.cache_clear()
        found = best_seats(board, occupied, wanted)
    seating._best_seats.cache_clear()
    assert (found is None) == (best is None)
    assert found is None or legal(board, [*seats, *found])


def test_a_search_that_gives_up_tries_every_seating_before_it_refuses(monkeypatch):
    """Where the first place of the large instance would shut out the small ones, they are all seated still."""
    monkeypatch.setattr(seating, "_STATES", 1)
    seating._best_seats.cache_clear()
    small, large = present(STRANGE.named("1g.1gb")), present(STRANGE.named("2g.2gb"))
    found = best_seats(STRANGE, STRANGE.empty, [small, small, large])
    seating._best_seats.cache_clear()
    assert sorted(map(str, present(found))) == ["1g.1gb@0", "1g.1gb@1", "2g.2gb@3"]


def test_engines_that_are_spent_cost_what_they_block():
    """On an RTX PRO 6000 +me.all takes every engine, so that no plain instance fits anywhere: that costs more."""
    board = board_of(profiles_of("RTX-PRO-6000-Blackwell-96GB"))
    assert _price(board, board.empty, "1g.24gb+me.all") > _price(board, board.empty, "1g.24gb")


@pytest.mark.parametrize(
    ("taken", "wanted", "named", "seated"),
    [
        # Memory slice 7 serves no 1g: what is larger goes there first.
        ("", "1g.10gb", False, "1g.10gb@6"),
        ("", "3g.20gb", False, "3g.20gb@4"),
        ("", "1g.5gb", False, "1g.5gb@0"),
        # By name a 4g may be asked, which lies at 0 alone.
        ("", "1g.5gb", True, "1g.5gb@6"),
        ("2g.10gb@4", "1g.5gb", False, "1g.5gb@6"),
        # Both halves are broken and cost the same now; the lower one has one instance less to wait for.
        ("1g.5gb@0,1g.5gb@4,1g.10gb@6", "1g.5gb", False, "1g.5gb@5"),
        ("", "1g.5gb,1g.5gb,3g.20gb", False, "3g.20gb@4 1g.5gb@0 1g.5gb@1"),
        ("1g.5gb@0", "3g.20gb,1g.10gb", False, "3g.20gb@4 1g.10gb@2"),
    ],
)
def test_known_seatings_on_an_a100(taken, wanted, named, seated):
    """The cases from which one understands the rule, worked out by hand."""
    seats = [seat for text in taken.split(",") if text for seat in [_seat(text)]]
    profiles = [present(A100.named(name)) for name in wanted.split(",")]
    found = present(best_seats(A100, A100.occupy(seats), profiles, named=named))
    assert " ".join(map(str, found)) == seated


def _seat(text):
    name, start = text.split("@")
    profile = present(A100.named(name))
    return Seat(profile, next(place for place in profile.placements if place.start == int(start)))


def test_gpus_in_use_and_small_boards_are_filled_first():
    """In a mixed node 5 GB go to the started A100, then to an A30, an idle A100, and an RTX PRO 6000 last."""
    small = board_of(profiles_of("A30-24GB"))
    large = board_of(profiles_of("RTX-PRO-6000-Blackwell-96GB"))
    started = A100.occupy([_seat("1g.5gb@0")])
    prices = [
        _price(A100, started, "1g.5gb"),
        _price(small, small.empty, "1g.6gb"),
        _price(A100, A100.empty, "1g.5gb"),
        _price(large, large.empty, "1g.24gb"),
    ]
    assert prices == sorted(prices)
    assert len(set(prices)) == len(prices)


def _price(board, occupied, name):
    (seat,) = present(best_seats(board, occupied, [present(board.named(name))]))
    return cost(board, occupied, board.add(occupied, seat))
