# SPDX-License-Identifier: Apache-2.0
"""libvgpu for other processors and for a libc of 2012, by a compiler that knows both (PyPI's ziglang)."""

import importlib.util
import re
import subprocess
import sys

import pytest
from support import NATIVE

SOURCES = NATIVE / "libvgpu"
MACHINES = {"x86_64-linux-gnu.2.17": "X86-64", "aarch64-linux-gnu.2.17": "AArch64"}


@pytest.mark.full
@pytest.mark.parametrize("target", MACHINES)
def test_it_is_built_for_each_processor_against_glibc_2_17(target, tmp_path):
    """Without a warning, and with every symbol that it needs in that libc."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed: make test-full installs it")
    library = tmp_path / "libvgpu.so"
    flags = [
        "-std=c11",
        "-D_GNU_SOURCE",
        "-O2",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{SOURCES}",
        f"-I{SOURCES.parent / 'include'}",
    ]
    link = [f"-Wl,--version-script={SOURCES / 'exports.map'}", "-Wl,-z,defs"]
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target]
    subprocess.run([*compiler, *flags, *link, "-o", library, *sorted(SOURCES.rglob("*.c"))], check=True)
    told = subprocess.run(["readelf", "-hV", library], capture_output=True, text=True, check=True).stdout
    assert MACHINES[target] in told
    versions = {tuple(map(int, each.split("."))) for each in re.findall(r"GLIBC_([0-9.]+)", told)}
    assert max(versions) <= (2, 17)
