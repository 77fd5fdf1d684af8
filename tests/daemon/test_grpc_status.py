# SPDX-License-Identifier: Apache-2.0
import grpc
import pytest

from hamid.core.claims.failure import CODES, refusal_of
from hamid.core.errors import InUse, LibraryMissing, UsageError
from hamid.core.planner.refusal import RefusalCode
from hamid.serve.grpc_status import STATUS, of_error, of_refusal

Status = grpc.StatusCode


def test_every_refusal_code_has_a_status():
    """No code is without a row, and each row is a failure to kubelet."""
    assert set(STATUS) == set(RefusalCode)
    assert Status.OK not in STATUS.values()


def test_every_error_has_the_status_of_its_refusal():
    """The status of each class of error; those that are not named here are the node's own trouble."""
    named = {
        "UsageError": Status.INVALID_ARGUMENT,
        "ConfigError": Status.INVALID_ARGUMENT,
        "LibraryMissing": Status.FAILED_PRECONDITION,
        "DriverHung": Status.DEADLINE_EXCEEDED,
        "LedgerBusy": Status.UNAVAILABLE,
        "LedgerFailed": Status.UNAVAILABLE,
        "LedgerUntrusted": Status.UNAVAILABLE,
    }
    found = {kind.__name__: STATUS[code] for kind, code in CODES.items()}
    assert found == dict.fromkeys(found, Status.INTERNAL) | named


@pytest.mark.parametrize("error", [UsageError("bad"), InUse("used", "wait"), LibraryMissing("none")])
def test_an_error_has_one_status_raised_or_refused(error):
    """Whether an error is raised through the server or becomes a refusal first, kubelet sees the same."""
    assert of_error(error) == of_refusal(refusal_of(error))
