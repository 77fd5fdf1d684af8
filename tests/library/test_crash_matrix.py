# SPDX-License-Identifier: Apache-2.0
"""A run that is killed or meets an error at any of its calls to the system."""

import json
import subprocess
import sys

import pytest
from support import SUPPORT

STEPPER = SUPPORT / "library_steps.py"
SCENARIOS = ["fresh", "upgrade", "rollback", "gc"]


def step(mode, scenario, base, *more):
    command = [sys.executable, str(STEPPER), mode, scenario, str(base), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_call_leaves_whole_files_and_the_next_run_completes(store, scenario):
    """Before and after every call: each file is old or new, and the next run ends as if nothing had happened."""
    found = step("kill", scenario, store.base)
    assert found["problems"] == []
    assert found["steps"] > 50


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_error_at_any_call_leaves_the_old_state_whole(store, scenario):
    """ENOSPC, EIO, EROFS and EACCES at every call: same inodes, same content, no temporary file, no silence."""
    found = step("fail", scenario, store.base)
    assert found["problems"] == []
    assert found["steps"] > 50


@pytest.mark.full
@pytest.mark.parametrize("mode", ["kill", "fail"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_kill_and_every_error_at_every_call(store, mode, scenario):
    """Kills before and after, and all four errors, at each call."""
    assert step(mode, scenario, store.base, "full")["problems"] == []
