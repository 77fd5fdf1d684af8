# SPDX-License-Identifier: Apache-2.0
"""Kubernetes quantities, exactly: `4096`, `2k`, `1Gi`, `500m`, `1e3` (apimachinery's resource.Quantity)."""

import re
from fractions import Fraction
from math import ceil
from typing import Final

# apimachinery accepts numbers of any length; no real quantity needs more digits than this.
_FORM: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40}))"
    r"(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?",
    re.ASCII,
)
_BINARY: Final[dict[str, int]] = {
    name: 1024**power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)
}
_DECIMAL: Final[dict[str, int]] = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_MOST_EXPONENT: Final = 40


def parse(text: str) -> Fraction:
    """The value; raises ValueError for text that is not a quantity or is out of range."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a quantity such as 4096 or 4Ki")
    number: Fraction = Fraction(found["number"].rstrip("."))
    suffix = found["suffix"] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    if abs(exponent) > _MOST_EXPONENT:
        raise ValueError(f"{text[:40]!r} is out of range")
    return number * Fraction(10**exponent) if exponent >= 0 else number / Fraction(10**-exponent)


def whole(text: str) -> int:
    """The value rounded up, as Quantity.Value() does; raises ValueError."""
    return ceil(parse(text))
