# SPDX-License-Identifier: Apache-2.0
"""The parts below the hooks under sanitizers, with any text, any file, any order."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from support import NATIVE

PROGRAMS = Path(__file__).parent / "programs"
SOURCES = NATIVE / "libvgpu"
PARTS = (
    "log",
    "region/environment",
    "region/identity",
    "region/hami_core",
    "region/file",
    "region/slots",
    "region/attach",
    "memory/accounting",
    "memory/allocations",
)
SIZE = 2_044_048


@pytest.fixture(scope="session", params=["address,undefined", pytest.param("thread", marks=pytest.mark.full)])
def lower(request, tmp_path_factory):
    """The program, built with a sanitizer."""
    program = tmp_path_factory.mktemp("lower") / "lower"
    flags = ["-std=gnu11", "-g", "-O1", f"-fsanitize={request.param}", "-fno-sanitize-recover=all", "-pthread"]
    sources = [str(SOURCES / f"{part}.c") for part in PARTS]
    subprocess.run(["cc", *flags, f"-I{SOURCES}", "-o", program, PROGRAMS / "lower.c", *sources], check=True)
    return program


def run(program, seed, rounds, file):
    return subprocess.run(
        [program, str(seed), str(rounds), file],
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("seed", range(4))
def test_any_text_and_any_order(lower, tmp_path, seed):
    """Parsers stay within their promises, the table equals a list, threads do not meet."""
    found = run(lower, seed, 20_000, tmp_path / "region")
    assert found.returncode == 0, found.stderr[-2000:].decode(errors="replace")


@pytest.mark.parametrize("seed", range(6))
def test_any_region_file(lower, tmp_path, seed):
    """Noise, a cut file, one full of ones, one of another program: figures are wrong at most, nothing crashes."""
    chance = random.Random(seed)
    file = tmp_path / "region"
    if seed == 0:
        file.write_bytes(b"\xff" * SIZE)
    elif seed == 1:
        file.write_bytes(b"x" * 100)
    else:
        data = bytearray(SIZE)
        for _ in range(4000):
            place = chance.choice(
                [chance.randrange(SIZE), chance.randrange(2000), 2_008_896 + chance.randrange(40_000)]
            )
            data[min(place, SIZE - 1)] = chance.randrange(256)
        file.write_bytes(data)
    found = run(lower, seed, 100, file)
    assert found.returncode == 0, found.stderr[-2000:].decode(errors="replace")


def test_what_cannot_be_shared_is_limited_alone(lower, tmp_path):
    """A directory, a FIFO or a link in the region's place: the limit holds for this process, and it says so."""
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(fifo)
    for place in (tmp_path, link, fifo, tmp_path / "no/such/folder"):
        found = run(lower, 1, 10, place)
        assert found.returncode == 0, found.stderr[-2000:].decode(errors="replace")
        assert b"for this process alone" in found.stderr
    assert not (tmp_path / "elsewhere").exists()
