# SPDX-License-Identifier: Apache-2.0
"""A process that changes the node is killed at every driver call and every write; then the next one recovers."""

import subprocess
import sys
import tempfile

import pytest
from support import TESTS
from support.crash_cases import CASES
from support.scene import PLACE

FULL = pytest.mark.full


@pytest.fixture
def prove(record_property):
    """Runs the proof of a case; the number of kills."""

    def run(case, *point):
        with tempfile.TemporaryDirectory(dir=PLACE) as folder:
            words = ["-m", "support.crash_proof", f"{folder}/scene", case.name, *map(str, point)]
            done = subprocess.run([sys.executable, *words], cwd=TESTS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        count, states = map(int, done.stdout.split())
        record_property("kills", (count, states))
        return count

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kill_at_any_point_is_recovered_from(case, prove):
    """Whatever point it dies at: nothing is leaked, half-made or harmed, and the change can still be made."""
    assert prove(case) > 100


@pytest.mark.parametrize("case", [CASES[2], CASES[3], CASES[7]], ids=lambda case: case.name)
@pytest.mark.parametrize(
    "point",
    [
        ("nvmlGpuInstanceDestroy", 1, "kill-after"),
        pytest.param(("nvmlComputeInstanceDestroy", 1, "kill"), marks=FULL),
    ],
)
def test_a_kill_during_recovery_is_recovered_from(case, point, prove):
    """A recovery may itself die at any point; the one after it ends what both began."""
    assert prove(case, *point) > 50
