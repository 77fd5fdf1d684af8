# SPDX-License-Identifier: Apache-2.0
"""What hamictl loads: start-up is held by what is imported, not by a clock."""

import json
import subprocess
import sys

import pytest

HEAVY = {"grpc", "structlog", "rich", "pydantic", "asyncio", "yaml", "psutil", "prometheus_client"}
PROGRAM = """
import json, sys
from hamictl.app import app
try:
    app({words!r}, prog_name="hamictl")
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--sim", "8xH100-80GB-SXM5", "mig", "plan", "--mem", "8000", "--count", "2", "-o", "json"],
        ["--sim", "1xA30", "gpu", "list", "-o", "json"],
        ["--sim", "1xA30", "mig", "list", "-o", "name"],
    ],
)
def test_a_script_pays_for_no_heavy_module(words):
    """With -o json none of grpc, structlog, rich, pydantic, asyncio, yaml and psutil is imported."""
    run = [sys.executable, "-P", "-c", PROGRAM.format(words=words)]
    result = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    code, modules = json.loads(result.stderr.splitlines()[-1])
    assert code == 0
    assert not HEAVY & {name.split(".")[0] for name in modules}


def test_help_names_every_noun(process):
    """The root help lists the nouns although each is loaded only when asked for."""
    text = process("--help").stdout
    for noun in ("gpu", "mig", "sim", "version"):
        assert f"\n  {noun} " in text


def test_an_unknown_noun_is_a_usage_error(process):
    """A typing mistake is exit code 2 with a word about it."""
    result = process("gpus")
    assert result.returncode == 2
    assert "gpus" in result.stderr
