# SPDX-License-Identifier: Apache-2.0
"""The JSON documents against their published schemas."""

import json

import jsonschema
import pytest
from support import REPOSITORY

SCHEMAS = REPOSITORY / "docs" / "json"
A100 = ("--sim", "2xA100-SXM4-40GB")
PLAN = (*A100, "mig", "plan", "--explain")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((*PLAN, "--mem", "8000", "--count", "2"), 0),
        ((*PLAN, "--mem", "8000", "--count", "5", "--policy", "packed"), 0),
        ((*PLAN, "--mem", "50%", "--cores", "30"), 0),
        ((*PLAN, "--profile", "1g.5gb+me", "--policy", "packed"), 0),
        ((*PLAN, "--mem", "20000", "-i", "0", "--occupied", "2g.10gb@0,2g.10gb@2"), 8),
        ((*PLAN, "--mem", "99999"), 8),
        ((*A100, "mig", "list"), 0),
        ((*A100, "mig", "profiles"), 0),
        ((*A100, "mig", "templates"), 0),
        ((*A100, "mig", "templates", "--all"), 0),
        ((*A100, "gpu", "list"), 0),
        (("--sim", "1xGH200-144GB", "gpu", "show", "0"), 0),
        ((*A100, "version"), 0),
        ((*PLAN, "--mem", "0"), 2),
        (("--sim", "1xNothing", "gpu", "list"), 2),
    ],
)
def test_each_document_is_what_its_schema_promises(hamictl, words, code):
    """Every answer, refusal and error validates against docs/json, with no key more or less."""
    document = hamictl.document(*words, code=code)
    schema = json.loads((SCHEMAS / f"{document['kind']}.schema.json").read_text())
    jsonschema.validate(document, schema)


def test_the_schemas_refuse_what_is_no_document(hamictl):
    """A missing key or a stranger fails validation, so the test above can fail."""
    document = hamictl.document(*A100, "gpu", "list")
    schema = json.loads((SCHEMAS / "GpuList.schema.json").read_text())
    for broken in ({**document, "more": 1}, {key: document[key] for key in document if key != "gpus"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)
