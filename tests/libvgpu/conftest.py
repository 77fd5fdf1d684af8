# SPDX-License-Identifier: Apache-2.0
"""CUDA clients under libvgpu on simulated nodes."""

import subprocess
from pathlib import Path

import pytest
from support import cudatools
from support.programs import piped
from support.sharing import Container

from hamid.node.simulation import control, lifecycle

control.preload()


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Makes containers, each with a simulated node of its own, a limit in MiB and a directory."""
    made: list[Path] = []

    def make(limit_mib=100, *, board="1xA30", state=None, **environment):
        place = tmp_path / f"c{len(made)}"
        place.mkdir()
        if state is None:
            state = place / "node"
            monkeypatch.delenv("HAMI_SIM_STATE", raising=False)
            lifecycle.up(state, board)
            made.append(state)
        return Container(state, place, limit_mib, environment)

    yield make
    for state in made:
        lifecycle.down(state)


@pytest.fixture(scope="session")
def hammer(tmp_path_factory):
    """The program."""
    program = tmp_path_factory.mktemp("hammer") / "hammer"
    source = Path(__file__).parent / "programs/hammer.c"
    subprocess.run(["cc", "-std=gnu11", "-O1", "-pthread", "-o", program, source, "-ldl"], check=True)
    return program


@pytest.fixture
def start(hammer):
    """Starts hammers in a container; those that are left end with the test."""
    started = []

    def run(place, *words, **more):
        environment = cudatools.environment(place.state, **{**place.environment, **more})
        started.append(piped([hammer, *map(str, words)], environment))
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.communicate()
