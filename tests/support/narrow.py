# SPDX-License-Identifier: Apache-2.0
"""Assertions that a type checker understands: a value that a test takes for granted is there, and of its kind."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value, which is not None."""
    assert value is not None
    return value


def exactly(kind: type[T], value: object) -> T:
    """The value, which is an instance of that class."""
    assert isinstance(value, kind), value
    return value
