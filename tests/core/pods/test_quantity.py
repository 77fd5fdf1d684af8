# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.pods.quantity import parse, whole

POWERS = {
    "": Fraction(1),
    "k": Fraction(1000),
    "M": Fraction(1000**2),
    "Ki": Fraction(1024),
    "Mi": Fraction(1024**2),
    "m": Fraction(1, 1000),
    "n": Fraction(1, 10**9),
}


@given(st.integers(-(10**12), 10**12), st.sampled_from(sorted(POWERS)))
def test_a_suffix_multiplies_exactly(number, suffix):
    """No digit is lost with any suffix, and a fraction is rounded up."""
    value = Fraction(number) * POWERS[suffix]
    assert parse(f"{number}{suffix}") == value
    assert whole(f"{number}{suffix}") == -(-value // 1)


@given(st.integers(0, 999), st.integers(-40, 40))
def test_an_exponent_moves_the_point(number, exponent):
    """Positive and negative exponents are exact."""
    assert parse(f"{number}e{exponent}") == Fraction(number) * Fraction(10) ** exponent


@pytest.mark.parametrize("text", ["1e41", "1E-41", "1e999"])
def test_what_is_beyond_any_quantity_is_refused(text):
    """An exponent of many digits would take all memory to write out."""
    with pytest.raises(ValueError, match="is out of range"):
        parse(text)


@pytest.mark.parametrize("text", ["", "x", "1 ", "1Kib", "1ee3", "0x10", "\u0661", "1" * 41])
def test_other_text_is_no_quantity(text):
    """The error shows the text and what a quantity looks like."""
    with pytest.raises(ValueError, match="is not a quantity such as 4096 or 4Ki"):
        parse(text)
