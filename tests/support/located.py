# SPDX-License-Identifier: Apache-2.0
"""Plain values as hamid.core reads them from a file: a tree in which every node knows its line."""

from collections.abc import Mapping

from hamid.core.config.parse import Source
from hamid.core.located import Located


def located(value: object, line: int = 1) -> Located:
    """The value as if its whole text stood on one line."""
    if isinstance(value, Mapping):
        return Located({str(name): located(each, line) for name, each in value.items()}, line)
    if isinstance(value, list | tuple):
        return Located(tuple(located(each, line) for each in value), line)
    assert value is None or isinstance(value, bool | int | float | str)
    return Located(value, line)


def source(value: object, path: str = "hamid.yaml", line: int = 1) -> Source:
    """A file that holds the value."""
    return Source(path, located(value, line))
