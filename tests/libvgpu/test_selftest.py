# SPDX-License-Identifier: Apache-2.0
"""`hamictl lib selftest` on the simulated node."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
from support import REPOSITORY

SCHEMA = REPOSITORY / "docs/json/LibrarySelftest.schema.json"


@pytest.fixture
def installed(node, hamictl):
    """A node with the library of our build."""
    state = node("1xA30")
    assert hamictl.run("--sim", state, "lib", "sync").exit_code == 0
    return state


def test_the_installed_library_passes(installed, process):
    """Loaded, sharing, limiting, showing: each is told with what was seen."""
    found = process("--sim", installed, "lib", "selftest")
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("ok  ") == 5
    document = json.loads(process("--sim", installed, "lib", "selftest", "-o", "json").stdout)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["passed"]


def test_a_library_that_limits_nothing_fails(installed, process):
    """In its place one that hooks nothing: exit code 1, and which promises broke."""
    (library,) = Path(f"{installed}.d/usr/local/vgpu").glob("libvgpu.so.*")
    source = library.with_name("empty.c")
    source.write_text("int nothing;\n")
    library.unlink()
    subprocess.run(["cc", "-shared", "-o", library, source], check=True)
    found = process("--sim", installed, "lib", "selftest")
    assert found.returncode == 1, found.stdout + found.stderr
    assert {line.split()[1] for line in found.stdout.splitlines() if line.startswith("FAIL")} >= {"preload:", "limit:"}


def test_nothing_installed_is_said(node, process):
    """With what to do about it."""
    found = process("--sim", node("1xA30"), "lib", "selftest")
    assert found.returncode == 1
    assert "no libvgpu" in found.stderr
