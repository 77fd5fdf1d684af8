# SPDX-License-Identifier: Apache-2.0
"""A process that changes the node is killed at every change and every write; then the next one recovers."""

import subprocess
import sys
import tempfile

import pytest
from support import TESTS
from support.crash_cases import CASES
from support.scene import PLACE

FULL = pytest.mark.full
# They destroy, so that there is something that a recovery can make again.
RECOVERED = [CASES[2], CASES[3], CASES[7]]


@pytest.fixture
def prove(record_property):
    """Runs the proof of a case; the number of kills."""

    def run(case, points, *point):
        with tempfile.TemporaryDirectory(dir=PLACE) as folder:
            words = ["-m", "support.crash_proof", f"{folder}/scene", case.name, points, *map(str, point)]
            done = subprocess.run([sys.executable, *words], cwd=TESTS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        count, states = map(int, done.stdout.split())
        record_property("kills", (count, states))
        return count

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kill_at_any_point_is_recovered_from(case, prove):
    """Before and after each change of the driver's state, and each write: nothing leaks or is half-made."""
    assert prove(case, "changes") > 10


@FULL
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kill_at_any_call_is_recovered_from(case, prove):
    """The same at every driver call there is, those included that only read."""
    assert prove(case, "calls") > 100


@pytest.mark.parametrize("case", RECOVERED, ids=lambda case: case.name)
@pytest.mark.parametrize("point", [("nvmlGpuInstanceDestroy", 1, "kill-after")])
def test_a_kill_during_recovery_is_recovered_from(case, point, prove):
    """A recovery may itself die at any point; the one after it ends what both began."""
    assert prove(case, "changes", *point) > 10


@FULL
@pytest.mark.parametrize("case", RECOVERED, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "point", [("nvmlGpuInstanceDestroy", 1, "kill-after"), ("nvmlComputeInstanceDestroy", 1, "kill")]
)
def test_a_kill_at_any_call_of_recovery_is_recovered_from(case, point, prove):
    """The same at every driver call of the recovery."""
    assert prove(case, "calls", *point) > 50
