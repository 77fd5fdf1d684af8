# SPDX-License-Identifier: Apache-2.0
"""What every JSON document has: `apiVersion: hami.io/v1`, `kind`, camelCase keys. The schemas are in docs/json/.

A document is a contract: keys are added, never renamed or dropped within v1.
"""

from collections.abc import Mapping
from typing import Any

from hamid.core.errors import HamiError
from hamid.core.version import API_VERSION

# The values are of JSON's types; the schema of each kind says which.
Document = dict[str, Any]


def envelope(kind: str, *, simulated: bool | None = None) -> Document:
    """The first keys of every document."""
    head: Document = {"apiVersion": API_VERSION, "kind": kind}
    if simulated is not None:
        head["simulated"] = simulated
    return head


def error_document(error: HamiError) -> Document:
    """An `Error`: `code` is the class name of the error tree, `notes` are further facts."""
    return {
        **envelope("Error"),
        "code": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "notes": list(getattr(error, "__notes__", ())),
    }


def version_document(fields: Mapping[str, str | None]) -> Document:
    """A `Version`: of hamictl, and of the driver where there is one."""
    return {**envelope("Version"), **fields}
