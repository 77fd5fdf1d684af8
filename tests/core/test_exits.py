# SPDX-License-Identifier: Apache-2.0
import pytest

from hamid.core import errors
from hamid.core.errors import HamiError, NodeError, NvmlFailed
from hamid.core.exits import Exit, exit_code
from hamid.core.located import ConfigError

EXPECTED = {
    "UsageError": Exit.USAGE,
    "Interrupted": Exit.INTERRUPTED,
    "NotPermitted": Exit.NOT_PERMITTED,
    "DaemonMissing": Exit.DAEMON,
    "DriverMissing": Exit.NO_DRIVER,
    **dict.fromkeys(
        (
            "LibraryBusy",
            "LibraryRefused",
            "UnsafePath",
            "StalePlan",
            "InUse",
            "ModePending",
            "ForeignInstance",
            "LedgerBusy",
            "LedgerUntrusted",
        ),
        Exit.REFUSED,
    ),
}
PLAIN = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, HamiError) and not issubclass(each, NvmlFailed)
]


@pytest.mark.parametrize("kind", PLAIN)
def test_every_error_has_its_exit_code(kind):
    """Scripts rely on the documented codes; an error without a row in the table is a failure."""
    assert exit_code(kind("what")) is EXPECTED.get(kind.__name__, Exit.FAILURE)


def test_an_error_of_a_derived_class_exits_as_its_base():
    """A configuration error is a usage error, a failed NVML call a failure, and so is a class that is new."""

    class UnheardError(NodeError):
        """An error that no table knows."""

    assert exit_code(ConfigError([])) is Exit.USAGE
    assert exit_code(NvmlFailed("nvmlInit", 1, "text")) is Exit.FAILURE
    assert exit_code(UnheardError("what")) is Exit.FAILURE
