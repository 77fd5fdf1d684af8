# SPDX-License-Identifier: Apache-2.0
import pytest
from support.schemas import checked

from hamid.core.documents.envelope import envelope, error_document, version_document
from hamid.core.errors import InUse, UsageError


@pytest.mark.parametrize(
    ("simulated", "more"), [(None, {}), (True, {"simulated": True}), (False, {"simulated": False})]
)
def test_a_document_begins_with_version_and_kind(simulated, more):
    """Whether the node is simulated is said only where the document is about a node."""
    found = envelope("GpuList", simulated=simulated)
    assert found == {"apiVersion": "hami.io/v1", "kind": "GpuList", **more}
    assert list(found)[:2] == ["apiVersion", "kind"]


def test_an_error_is_a_document():
    """Its code is the class's name, and what happened besides is among the notes."""
    error = InUse("GPU 0 is used", "wait")
    error.add_note("undone")
    assert checked(error_document(error)) == {
        "apiVersion": "hami.io/v1",
        "kind": "Error",
        "code": "InUse",
        "message": "GPU 0 is used",
        "hint": "wait",
        "notes": ["undone"],
    }
    assert checked(error_document(UsageError("what")))["notes"] == []


def test_versions_are_a_document():
    """Every version that is known stands beside those that are not."""
    fields = {"version": "0.1.0", "driverVersion": None, "nvmlVersion": None}
    found = version_document(fields)
    assert found == {"apiVersion": "hami.io/v1", "kind": "Version", **fields}
