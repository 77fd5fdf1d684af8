# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests that run hamictl on simulated nodes, within this process and as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from support import REPOSITORY
from support.library_files import build
from typer.testing import CliRunner

import hamid
from hamictl.app import app

pytest_plugins = ["support.skips"]

# The only profile. In CI a run repeats itself, elsewhere each run tries something else and prints how to repeat it. How
# long an example takes says nothing of what it proves, and a fixture that all examples share is meant so.
settings.register_profile(
    "hami",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("hami")

SIM_VARIABLES = ("HAMI_SIM_STATE", "HAMI_SIM_NODE", "HAMI_SIM_FAULTS", "HAMI_ROOT", "NO_COLOR", "FORCE_COLOR")


def pytest_addoption(parser):
    parser.addoption("--wheel", action="store_true", help="refuse to run on the source tree")


def pytest_configure(config):
    """`make test` tests what users install: this process and the processes that it starts import the wheel's hamid."""
    if config.getoption("--wheel"):
        code = "import hamid; print(hamid.__file__)"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for place in (hamid.__file__, other):
            if Path(place).parent == REPOSITORY / "hamid":
                raise pytest.UsageError(f"--wheel: hamid is imported from the source tree: {place}")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """No variable of one test reaches another, and none of the machine's reaches a test."""
    for name in SIM_VARIABLES:
        # setenv first, so that the undo also covers what the test itself sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


class Hamictl:
    """Runs the command tree in this process: `run("gpu", "list")` gives exit code, stdout and stderr."""

    def __init__(self):
        self.runner = CliRunner()

    def run(self, *words):
        return self.runner.invoke(app, [str(word) for word in words], prog_name="hamictl")

    def document(self, *words, code=0):
        """The JSON document of a command that must exit with `code`."""
        result = self.run(*words, "-o", "json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)


@pytest.fixture
def hamictl():
    return Hamictl()


@pytest.fixture
def process():
    """Runs the installed hamictl as a process."""
    program = Path(sys.executable).with_name("hamictl")

    def run(*words, **options):
        command = [str(program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)

    return run


@pytest.fixture
def node(hamictl, tmp_path):
    """Makes lasting simulated nodes; all of them are ended after the test."""
    made: list[Path] = []

    def up(spec):
        state = tmp_path / f"node{len(made)}"
        made.append(state)
        assert hamictl.run("sim", "up", "--node", spec, "--state", state).exit_code == 0
        return state

    yield up
    for state in made:
        if state.exists():
            hamictl.run("sim", "down", "--state", state)


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    """Two versions of a library, as bytes."""
    folder = tmp_path_factory.mktemp("libraries")
    return SimpleNamespace(
        one=build(folder, "one.so", 1).read_bytes(),
        two=build(folder, "two.so", 2).read_bytes(),
    )


def pytest_terminal_summary(terminalreporter):
    """What the crash proofs enumerated; here, where the process that reports reads it."""
    kills = _recorded(terminalreporter, "kills")
    if kills:
        count, states = (sum(each) for each in zip(*kills, strict=True))
        terminalreporter.write_line(
            f"crash matrix: {count} kills in {len(kills)} proofs left {states} different states, recovered from each"
        )
    deaths = _recorded(terminalreporter, "deaths")
    if deaths:
        terminalreporter.write_line(
            f"libvgpu: {sum(deaths)} deaths in {len(deaths)} proofs, none of which any other process noticed"
        )


def _recorded(terminalreporter, wanted):
    """What tests recorded under this name."""
    return [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == wanted
    ]
