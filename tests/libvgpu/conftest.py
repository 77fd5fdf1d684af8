# SPDX-License-Identifier: Apache-2.0
"""CUDA clients under libvgpu on simulated nodes."""

import subprocess
from pathlib import Path

import pytest
from support import NATIVE, cudatools
from support.programs import piped
from support.sharing import Container

from hamid.node.simulation import control, lifecycle

SOURCES = NATIVE / "libvgpu"
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


@pytest.fixture(scope="session")
def crashing(tmp_path_factory):
    """The library with points at which a process dies or stops, as its environment says."""
    library = tmp_path_factory.mktemp("crash") / "libvgpu.so"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-DVGPU_CRASH_POINTS", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"]
    flags += [f"-I{SOURCES}", f"-I{SOURCES.parent / 'include'}"]
    link = [f"-Wl,--version-script={SOURCES / 'exports.map'}", "-Wl,-Bsymbolic-functions"]
    sources = sorted(map(str, SOURCES.rglob("*.c")))
    subprocess.run(["cc", *flags, *link, "-o", str(library), *sources], check=True)
    return str(library)


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
