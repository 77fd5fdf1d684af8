# SPDX-License-Identifier: Apache-2.0
import pytest

from hamid.core.claims.failure import is_transient, refusal_of
from hamid.core.errors import DriverHung, ForeignInstance, GpuLost, InUse, LibraryMissing, NodeError, NvmlFailed
from hamid.core.planner.refusal import Failed, RefusalCode


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (InUse("used"), True),
        (ForeignInstance("in the way"), True),
        (NvmlFailed("f", 19, "In use by another client"), True),
        (NvmlFailed("f", 23, "Insufficient resources"), True),
        (GpuLost("f", 15, "GPU is lost"), False),
        (NvmlFailed("f", 999, "Unknown Error"), False),
        (DriverHung("hung"), False),
        (ValueError("19"), False),
    ],
)
def test_what_may_be_gone_a_moment_later_is_tried_again(error, transient):
    """An instance or placement in use is transient; every other error of the driver is permanent."""
    assert is_transient(error) is transient


def test_an_error_of_a_new_class_is_refused_as_its_base():
    """The nearest class with a row in the table gives the code; message and hint are the error's own."""

    class NewError(LibraryMissing):
        """A class without a row."""

    assert refusal_of(NewError("m", "h")).facts == Failed(RefusalCode.LIBRARY, "m", "h")
    assert refusal_of(NodeError("m")).code is RefusalCode.DRIVER


def test_what_is_no_error_of_ours_is_raised():
    """A fault of the program is never told to a pod as a refusal."""
    with pytest.raises(ValueError, match="a fault"):
        refusal_of(ValueError("a fault"))
