# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import gpu, profile_of

from hamid.core.errors import UsageError
from hamid.core.hardware.geometry import (
    LayoutItem,
    Seat,
    count_names,
    format_geometry,
    legal_names,
    parse_layout,
    sum_counts,
    whole_profile,
)
from hamid.core.hardware.profile import Placement

NAMES = st.sampled_from(["1g.5gb", "2g.10gb", "7g.141gb", "1g.24gb+me.all", "1g.24gb-me", "4g.96gb+gfx"])
ITEMS = st.builds(LayoutItem, NAMES, st.none() | st.integers(0, 11))


@given(st.lists(ITEMS, min_size=1, max_size=8))
def test_a_layout_reads_back_as_it_was_written(items):
    """Every profile name with any suffix, placed or not, survives the way through text."""
    text = ",".join(item.profile if item.start is None else f"{item.profile}@{item.start}" for item in items)
    assert parse_layout(text) == tuple(items)


def test_a_star_repeats_an_entry():
    """`*2` stands for two entries that may lie anywhere."""
    assert parse_layout("1g.5gb*2") == (LayoutItem("1g.5gb"), LayoutItem("1g.5gb"))


@pytest.mark.parametrize(
    "text",
    ["", ",", "2g.10gb@", "2g.10gb@-1", "2g.10gb*0", "2g.10gb*65", "2g.10gb*999", "2g", "2G.10GB", "2g.10gb@0*2"],
)
def test_a_malformed_entry_is_named(text):
    """A bad layout is an error that shows the entry, so that the operator sees which one."""
    with pytest.raises(UsageError):
        parse_layout(text)


def test_a_geometry_is_shown_in_its_own_order():
    """People read templates in the order in which the configuration wrote them; what has no count is not shown."""
    assert format_geometry({"2g.10gb": 3, "1g.5gb": 1, "7g.40gb": 0}) == "2g.10gb*3 + 1g.5gb*1"
    assert format_geometry({}) == "nothing"


@pytest.mark.parametrize(
    ("profile", "whole"),
    [("3g.20gb", "3g.20gb"), ("3c.3g.20gb", "3g.20gb"), ("1c.3g.20gb", None), ("7c.7g.40gb", "7g.40gb"), ("x", "x")],
)
def test_compute_instances_must_span_their_instance(profile, whole):
    """A profile whose compute slices are all of the instance's is that instance, another one would divide it."""
    assert whole_profile(profile) == whole


def test_a_layout_that_divides_an_instance_is_refused():
    """The error says what to ask for, in place of the shared profile."""
    with pytest.raises(UsageError, match="shares a GPU instance between compute instances") as caught:
        parse_layout("2g.10gb@0,1c.3g.20gb@4")
    assert caught.value.hint == "request 3g.20gb@4 as a whole"
    assert parse_layout("3c.3g.20gb@4") == (LayoutItem("3g.20gb", 4),)


def test_names_are_counted_and_counts_summed():
    """Names come in the order of their first occurrence, and one with nothing left stays, as 0."""
    assert list(count_names(["b", "a", "b"]).items()) == [("b", 2), ("a", 1)]
    assert sum_counts([{"a": 1, "b": 0}, {"a": 2}]) == {"a": 3, "b": 0}
    assert sum_counts([]) == {}


def test_seats_and_legal_names_are_shown_for_people():
    """A seat is written as a layout has it, and no profiles at all are none."""
    found = gpu()
    seat = Seat(profile_of(found, "2g.10gb"), Placement(4, 2))
    assert (str(seat), seat.key) == ("2g.10gb@4", (seat.profile.profile_id, 4))
    assert legal_names(found.profiles[:2]) == f"{found.profiles[0].name}, {found.profiles[1].name}"
    assert legal_names(()) == "none"
