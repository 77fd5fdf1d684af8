# SPDX-License-Identifier: Apache-2.0
"""Unvalidated configuration: a tree of plain values that keeps the line of each, and the problems found in it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from hamid.core.errors import UsageError

Plain = None | bool | int | float | str
_SHOWN = 60
# Python refuses to format integers of more than 4300 digits; longer ones are shown by their size.
_MOST_BITS = 128
_KINDS: Final[Mapping[type, str]] = {
    dict: "a mapping",
    tuple: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a decimal number",
    type(None): "nothing",
}


class Located(Struct, frozen=True):
    """A value from a file and its line number (from 1): a scalar, a tuple of Located, or a dict of them."""

    value: Plain | tuple["Located", ...] | dict[str, "Located"]
    line: int

    @property
    def kind(self) -> str:
        """The value's type in the words of the format."""
        return _KINDS[type(self.value)]


class Problem(Struct, frozen=True):
    """One error in a file: where (path, line, key), what is wrong, and what would be right."""

    path: str
    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return printable(f"{self.path}:{self.line}: {self.key}: {self.message}{hint}")


class ConfigError(UsageError):
    """A configuration with problems; it lists all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "\n".join(str(problem) for problem in problems), "nothing was changed; fix the file and try again"
        )
        self.problems = tuple(problems)


class Reader:
    """Reads values from a located tree and collects every problem instead of stopping at the first."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []

    def complain(self, node: Located, key: str, message: str, hint: str = "") -> None:
        """Note a problem at a node."""
        self.problems.append(Problem(self.path, node.line, key, message, hint))

    def mapping(self, node: Located, key: str) -> dict[str, Located] | None:
        """The node as a mapping, or None with the problem noted."""
        if isinstance(node.value, dict):
            return node.value
        self.complain(node, key, f"is {node.kind}, not a mapping")
        return None

    def items(self, node: Located, key: str) -> Iterator[tuple[str, Located]]:
        """The entries of a list that must not be empty, each with its key `name[3]`."""
        if not isinstance(node.value, tuple):
            self.complain(node, key, f"is {node.kind}, not a list")
            return
        if not node.value:
            self.complain(node, key, "is an empty list")
        for number, entry in enumerate(node.value):
            yield f"{key}[{number}]", entry

    def text(self, node: Located, key: str) -> str | None:
        """The node as text that says something, or None with the problem noted."""
        if isinstance(node.value, str) and node.value.strip():
            return node.value
        self.complain(node, key, f"is {node.kind}, not text" if not isinstance(node.value, str) else "is empty")
        return None

    def number(self, node: Located, key: str, low: int, high: int) -> int | None:
        """The node as a whole number within bounds, or None with the problem noted."""
        legal = f"a whole number from {low} to {high}"
        if not isinstance(node.value, int) or isinstance(node.value, bool):
            self.complain(node, key, f"is {node.kind} ({shown(node)}), not a number", legal)
        elif not low <= node.value <= high:
            self.complain(node, key, f"is {shown(node)}", legal)
        else:
            return node.value
        return None


def shown(node: Located) -> str:
    """A scalar as it appears in a message: always short and printable."""
    if isinstance(node.value, dict | tuple):
        return node.kind
    if isinstance(node.value, int) and node.value.bit_length() > _MOST_BITS:
        return f"a number of {node.value.bit_length()} bits"
    text = printable(str(node.value))
    return (text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...") or "''"


def printable(text: str) -> str:
    """Text on one line, with control characters escaped: they could corrupt a terminal or a log."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
