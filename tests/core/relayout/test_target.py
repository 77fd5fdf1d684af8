# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import gpu

from hamid.core.errors import UsageError
from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import parse_layout
from hamid.core.relayout.target import read_layout

GPU = gpu()
BOARD = board_of(GPU.profiles)


def read(text):
    """The layout as (placed seats, free profiles)."""
    found = read_layout(GPU, BOARD, parse_layout(text))
    return [str(seat) for seat in found.fixed], [profile.name for profile in found.free]


@pytest.mark.parametrize(
    ("text", "fixed", "free"),
    [
        ("1g.5gb@6,2g.10gb@0", ["2g.10gb@0", "1g.5gb@6"], []),
        ("2g.10gb,1g.5gb,2g.10gb", [], ["1g.5gb", "2g.10gb", "2g.10gb"]),
        ("3g.20gb@4,1g.5gb*2", ["3g.20gb@4"], ["1g.5gb", "1g.5gb"]),
    ],
)
def test_a_layout_has_placed_seats_and_profiles_that_may_lie_anywhere(text, fixed, free):
    """Seats are ordered by their start, and equal profiles stand together, smallest first."""
    assert read(text) == (fixed, free)


@given(st.permutations(["2g.10gb@0", "1g.5gb@2", "1g.5gb", "2g.10gb"]))
def test_the_order_in_which_a_layout_is_written_does_not_matter(items):
    """Equal layouts are equal values."""
    assert read(",".join(items)) == (["2g.10gb@0", "1g.5gb@2"], ["1g.5gb", "2g.10gb"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9g.9gb", "has no profile '9g.9gb'"),
        ("2g.10gb@1", "cannot start at 1"),
        ("2g.10gb@0,1g.5gb@1", "1g.5gb@1"),
        ("1g.5gb*8", "cannot hold"),
        ("7g.40gb@0,1g.5gb", "cannot hold"),
    ],
)
def test_what_no_board_of_this_kind_holds_is_an_error(text, message):
    """A profile, a start, an overlap or a sum that is impossible is refused before anything is searched."""
    with pytest.raises(UsageError, match=message):
        read(text)
