# SPDX-License-Identifier: Apache-2.0
import pytest
from support.narrow import present
from support.values import gpu, instance

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat, parse_layout
from hamid.core.planner.offer import seats_of
from hamid.core.relayout.search import arrange, hindrance, reachable, take
from hamid.core.relayout.target import read_layout

GPU = gpu()
BOARD = board_of(GPU.profiles)


def seats(*places):
    """Seats by (profile, start)."""
    return seats_of(GPU, [instance(GPU, profile, start) for profile, start in places])


def wanted(text):
    return read_layout(GPU, BOARD, parse_layout(text))


def names(found):
    return [str(seat) for seat in found]


@pytest.mark.parametrize(
    ("target", "staying", "there", "expected", "kept"),
    [
        ("2g.10gb@2,1g.5gb", (), (("1g.5gb", 6),), ["2g.10gb@2", "1g.5gb@6"], 1),
        ("2g.10gb@2,1g.5gb", (), (("2g.10gb", 2), ("1g.5gb", 6)), ["2g.10gb@2", "1g.5gb@6"], 2),
        ("1g.5gb*2", (("3g.20gb", 0),), (("1g.5gb", 5), ("1g.5gb", 6)), ["1g.5gb@5", "1g.5gb@6"], 2),
        ("3g.20gb", (("1g.5gb", 5),), (("3g.20gb", 0),), ["3g.20gb@0"], 1),
        ("2g.10gb@2", (("1g.5gb", 2),), (), None, 0),
        ("7g.40gb", (("1g.5gb", 6),), (), None, 0),
        ("3g.20gb*2", (("1g.5gb", 1),), (), None, 0),
    ],
)
def test_a_target_keeps_what_is_there(target, staying, there, expected, kept):
    """Present instances serve where they lie, and without a legal arrangement there is none."""
    found = arrange(BOARD, BOARD.occupy(seats(*staying)), wanted(target), seats(*there))
    assert (found and names(found.seats)) == expected
    if found is not None:
        assert found.kept == kept
        assert found.starts == sorted(seat.placement.start for seat in found.seats)


def test_what_is_present_serves_each_wish_once():
    """A placed wish is served by that seat alone, a free one by any instance of its profile."""
    rest, taken = take(wanted("1g.5gb@0,1g.5gb"), seats(("1g.5gb", 0), ("1g.5gb", 3), ("1g.5gb", 6), ("2g.10gb", 4)))
    assert names(taken) == ["1g.5gb@0", "1g.5gb@3"]
    assert (rest.fixed, rest.free) == ((), ())


@pytest.mark.parametrize(
    ("target", "staying", "kept", "target_seats"),
    [
        ("3g.20gb@0", (("1g.5gb", 1),), [], ["3g.20gb@0"]),
        ("3g.20gb@4,1g.5gb", (("1g.5gb", 1), ("2g.10gb", 4)), ["1g.5gb@1"], ["1g.5gb@1", "3g.20gb@4"]),
        ("1g.5gb@0", (("2g.10gb", 2),), [], ["1g.5gb@0"]),
    ],
)
def test_what_forbids_a_target_is_found(target, staying, kept, target_seats):
    """The most instances that the target can contain stay in it, and the target is laid beside those."""
    found = hindrance(BOARD, wanted(target), seats(*staying))
    assert (names(found.kept), names(found.seats)) == (kept, target_seats)


@pytest.mark.parametrize(
    ("target", "staying", "expected"),
    [
        ("3g.20gb@4,1g.5gb", (("2g.10gb", 4),), ["1g.5gb"]),
        ("3g.20gb@4,2g.10gb@0", (("2g.10gb", 4),), ["2g.10gb"]),
        ("2g.10gb,1g.5gb*2", (("4g.20gb", 0), ("1g.5gb", 4)), ["1g.5gb", "1g.5gb"]),
        ("7g.40gb", (("1g.5gb", 6),), []),
    ],
)
def test_as_much_of_a_target_as_fits_is_reachable(target, staying, expected):
    """The largest part by instances, and then by memory, that fits beside everything that stays."""
    found = reachable(BOARD, wanted(target), (), seats(*staying), ())
    assert sorted(seat.profile.name for seat in found) == sorted(expected)
    occupied = BOARD.occupy(seats(*staying))
    for seat in found:
        assert BOARD.fits(occupied, seat)
        occupied = BOARD.add(occupied, seat)


def test_what_serves_already_is_part_of_what_is_reachable():
    """An instance that stays and that the target contains comes first."""
    there: list[Seat] = seats(("1g.5gb", 6))
    assert names(reachable(BOARD, wanted("1g.5gb@6"), there, there, ())) == ["1g.5gb@6"]
    assert names(present(arrange(BOARD, BOARD.occupy(there), wanted("1g.5gb"), ())).seats) != ["1g.5gb@6"]
