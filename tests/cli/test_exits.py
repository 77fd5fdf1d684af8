# SPDX-License-Identifier: Apache-2.0
"""Error classes, their exit codes and their documentation are one list."""

import re

import pytest
from support import REPOSITORY

from hamid.core.errors import DriverMissing, GpuLost, HamiError, NodeError, NotPermitted, NvmlFailed, UsageError
from hamid.core.exits import exit_code
from hamid.core.located import ConfigError

DOCUMENT = REPOSITORY / "docs" / "errors.md"


def tree(kind):
    for each in kind.__subclasses__():
        yield each
        yield from tree(each)


def test_every_error_class_is_documented_with_its_exit_code():
    """docs/errors.md names each class once, with the code that hamictl really exits with."""
    rows = dict(re.findall(r"^\| (\w+) \| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE))
    classes = {kind.__name__: kind for kind in tree(HamiError) if kind.__module__.startswith("hamid.core")}
    assert rows.keys() == classes.keys()
    for name, kind in classes.items():
        error = kind.__new__(kind)
        assert int(rows[name]) == exit_code(error)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (ConfigError(()), 2),
        (NotPermitted("x"), 4),
        (DriverMissing("x"), 6),
        (NodeError("x"), 1),
        (NvmlFailed("f", 999, "x"), 1),
        (GpuLost("f", 15, "x"), 1),
    ],
)
def test_each_class_has_its_exit_code(error, code):
    """One row of the table per class."""
    assert exit_code(error) == code
