# SPDX-License-Identifier: Apache-2.0
"""The published schemas of JSON documents, docs/json/."""

import json
from functools import cache

import jsonschema

from support import REPOSITORY


@cache
def _schema(kind: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((REPOSITORY / "docs" / "json" / f"{kind}.schema.json").read_text())
    return found


def checked(document: dict[str, object]) -> dict[str, object]:
    """The document as a reader of its JSON has it, once the schema of its kind accepts it."""
    read: dict[str, object] = json.loads(json.dumps(document))
    jsonschema.validate(read, _schema(str(read["kind"])))
    return read
