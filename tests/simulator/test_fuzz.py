# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
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


def test_no_argument_breaks_memory(tmp_path):
    """Under address and undefined-behaviour sanitizers, random calls with stale and garbage arguments stay clean."""
    if shutil.which("cmake", path=TOOLS) is None or not sanitizers_work(tmp_path):
        pytest.skip("cmake or the compiler's sanitizers are missing here")
    build = str(tmp_path / "build")
    configured = run(["cmake", "-S", str(NATIVE), "-B", build, "-DHAMI_SANITIZE=address,undefined"])
    assert configured.returncode == 0, configured.stderr
    made = run(["cmake", "--build", build, "--target", "simulator_fuzz", "--parallel", "2"])
    assert made.returncode == 0, made.stdout + made.stderr
    for seed in ("1", "2"):
        done = run([f"{build}/simulator/simulator_fuzz", seed, "100000"], timeout=120)
        assert (done.returncode, done.stdout) == (0, "100000 rounds\n"), done.stderr[-3000:]
