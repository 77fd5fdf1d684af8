# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.located import located

from hamid.core.located import ConfigError, Located, Problem, Reader, printable, shown


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "nothing"),
        (True, "true or false"),
        (1, "a number"),
        (1.5, "a decimal number"),
        ("x", "text"),
        ([], "a list"),
        ({}, "a mapping"),
    ],
)
def test_a_value_is_named_in_the_words_of_the_format(value, kind):
    """True is no number, although Python says so."""
    assert located(value).kind == kind


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "''"),
        ("a\nb", "a\\nb"),
        ("x" * 61, "x" * 60 + "..."),
        ("x" * 60, "x" * 60),
        (5, "5"),
        (1 << 127, str(1 << 127)),
        (1 << 128, "a number of 129 bits"),
        pytest.param(-(1 << 20_000), "a number of 20001 bits", id="huge"),
        ([1], "a list"),
        ({"a": 1}, "a mapping"),
    ],
)
def test_a_value_is_shown_short(value, text):
    """However long or strange a value is, a message shows little of it, on one line."""
    assert shown(located(value)) == text


@given(st.text())
def test_what_is_printed_has_no_control_characters(text):
    """Printable text stays as it is, everything else becomes printable."""
    assert printable(text).isprintable()
    assert not text.isprintable() or printable(text) == text


def reader():
    return Reader("/f")


def test_problems_are_collected_with_their_place():
    """Each has the file, the line of its node and its key."""
    found = reader()
    assert found.mapping(located(3, line=7), "a") is None
    assert list(found.items(located("x", line=8), "b")) == []
    assert list(found.items(located([], line=9), "c")) == []
    assert found.text(located(3), "d") is None
    assert found.text(located(" "), "e") is None
    assert found.problems == [
        Problem("/f", 7, "a", "is a number, not a mapping"),
        Problem("/f", 8, "b", "is text, not a list"),
        Problem("/f", 9, "c", "is an empty list"),
        Problem("/f", 1, "d", "is a number, not text"),
        Problem("/f", 1, "e", "is empty"),
    ]


def test_what_is_right_is_given_back():
    """A mapping, the entries of a list with their keys, and a text come back without a problem."""
    found = reader()
    one = Located(1, 4)
    assert found.mapping(Located({"x": one}, 1), "a") == {"x": one}
    assert list(found.items(Located((one, one), 1), "a")) == [("a[0]", one), ("a[1]", one)]
    assert found.text(located(" x "), "a") == " x "
    assert found.problems == []


@given(st.integers() | st.booleans() | st.text(max_size=3) | st.none(), st.integers(-5, 5), st.integers(-5, 5))
def test_a_number_within_bounds_or_a_problem(value, low, high):
    """Either the number itself is given back, or exactly one problem is noted that says which numbers are legal."""
    found = reader()
    answer = found.number(located(value), "n", low, high)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        assert (answer, found.problems) == (value, [])
    else:
        assert answer is None
        assert [each.hint for each in found.problems] == [f"a whole number from {low} to {high}"]


def test_a_configuration_error_shows_every_problem():
    """One line a problem, with its hint where it has one, and never a control character."""
    problems = [Problem("/f", 1, "k", "is odd", "an even one"), Problem("/f", 2, "k\n", "is empty")]
    error = ConfigError(problems)
    assert error.message == "/f:1: k: is odd (an even one)\n/f:2: k\\n: is empty"
    assert error.problems == tuple(problems)
