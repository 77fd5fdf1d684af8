# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.values import gpu

from hamid.core.hardware.profile import Engines, Placement

PLACES = st.builds(Placement, st.integers(0, 11), st.integers(1, 12))
ENGINES = st.builds(Engines, *[st.integers(0, 1000)] * 4)


@given(PLACES, PLACES)
def test_masks_meet_exactly_where_placements_overlap(one, other):
    """Two placements share a slice when each begins before the other ends."""
    overlap = one.start < other.end and other.start < one.end
    assert bool(one.mask & other.mask) is overlap
    assert one.mask.bit_count() == one.size


def test_a_placement_is_shown_as_start_and_size():
    """As nvidia-smi shows it."""
    assert str(Placement(4, 2)) == "4:2"


@given(ENGINES, ENGINES)
def test_packed_engines_add_up_field_by_field(one, other):
    """The sum of packed counts is the packed sum, and different counts are packed differently."""
    total = Engines(*(a + b for a, b in zip(_fields(one), _fields(other), strict=True)))
    assert one.packed + other.packed == total.packed
    assert (one.packed == other.packed) is (one == other)


def _fields(engines):
    return engines.decoders, engines.encoders, engines.jpeg, engines.ofa


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("1g.5gb", ""),
        ("1g.5gb+me", "+me"),
        ("1g.24gb+me.all", "+me.all"),
        ("1g.24gb-me", "-me"),
        ("4g.96gb+gfx", "+gfx"),
    ],
)
def test_a_profiles_suffix_is_what_follows_its_size(name, suffix):
    """Plain profiles have none."""
    (profile, *_) = gpu().profiles
    assert replace(profile, name=name).suffix == suffix


def test_profiles_are_ordered_by_what_they_have():
    """Memory comes first, then compute slices, then the id; the size is that of every placement."""
    profiles = sorted(gpu().profiles, key=lambda each: each.order)
    assert [each.memory_mib for each in profiles] == sorted(each.memory_mib for each in profiles)
    names = [each.name for each in profiles]
    assert names.index("3g.20gb") < names.index("4g.20gb")
    for each in profiles:
        assert {place.size for place in each.placements} == {each.size}
