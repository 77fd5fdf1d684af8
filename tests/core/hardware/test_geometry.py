# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.errors import UsageError
from hamid.core.hardware.geometry import LayoutItem, format_geometry, parse_layout

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
