# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

NATIVE = REPOSITORY / "native"
TOOLS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def run(command, **options):
    """The finished process of a command."""
    environment = {**os.environ, "PATH": TOOLS}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


def sanitizers_work(directory):
    """Whether the compiler of this machine can build and run a sanitized program."""
    source = directory / "probe.c"
    source.write_text("int main(void) { return 0; }\n")
    built = run(["gcc", "-fsanitize=address,undefined", "-o", str(directory / "probe"), str(source)])
    return built.returncode == 0 and run([str(directory / "probe")]).returncode == 0


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Builds a program of native/simulator/tests with sanitizers; its path."""
    directory = tmp_path_factory.mktemp("sanitized")
    if shutil.which("cmake", path=TOOLS) is None or not sanitizers_work(directory):
        pytest.skip("cmake or the compiler's sanitizers are missing here")

    def make(target, sanitizers="address,undefined"):
        place = str(directory / sanitizers)
        configured = run(["cmake", "-S", str(NATIVE), "-B", place, f"-DHAMI_SANITIZE={sanitizers}", "-DHAMI_WERROR=ON"])
        assert configured.returncode == 0, configured.stderr
        made = run(["cmake", "--build", place, "--target", target, "--parallel", "2"])
        assert made.returncode == 0, made.stdout + made.stderr
        return f"{place}/simulator/{target}"

    return make


def test_no_argument_breaks_memory(build):
    """Under address and undefined-behaviour sanitizers, random calls with stale and garbage arguments stay clean."""
    program = build("simulator_fuzz")
    for seed in ("1", "2"):
        done = run([program, seed, "100000"], timeout=120)
        assert (done.returncode, done.stdout) == (0, "100000 rounds\n"), done.stderr[-3000:]


@pytest.mark.parametrize(
    "seeds", [range(1, 4), pytest.param(range(4, 60), marks=pytest.mark.full)], ids=["few", "many"]
)
def test_no_cuda_call_breaks_memory_or_keeps_any(build, seeds, monkeypatch):
    """Random CUDA calls with stale, foreign and garbage handles stay clean, and at the end the device is empty."""
    # Handles lie in pages of the driver's own, which the leak detector does not search; the device's bytes are counted.
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    program = build("cuda_fuzz")
    for seed in seeds:
        done = run([program, str(seed), "50000"], timeout=120)
        assert (done.returncode, done.stdout) == (0, "0 bytes left\n"), f"seed {seed}: {done.stderr[-3000:]}"


@pytest.mark.parametrize("sanitizers", ["address,undefined", pytest.param("thread", marks=pytest.mark.full)])
def test_threads_share_a_cuda_device(build, sanitizers, monkeypatch):
    """Threads that take and give memory of every kind at once do not race, and lose no byte and no callback."""
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    program = build("cuda_threads", sanitizers)
    done = run([program, "16", "3000"], timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 bytes left\n", "")
