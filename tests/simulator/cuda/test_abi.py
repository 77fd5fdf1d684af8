# SPDX-License-Identifier: Apache-2.0
"""Our words for CUDA's binary interface against NVIDIA's own, where that is installed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support import REPOSITORY

HERE = Path(__file__).parent


def header_directory():
    """Where a cuda.h of NVIDIA's lies, or None."""
    places = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")), *sorted(Path("/usr/local").glob("cuda-*"))]
    return next((place / "include" for place in places if (place / "include/cuda.h").is_file()), None)


def test_structures_and_values_are_those_of_cuda_h():
    """Every size, offset and value of native/include/cuda_abi.h is that of NVIDIA's header."""
    theirs = header_directory()
    if theirs is None:
        pytest.skip("no cuda.h is installed here: the comparison needs NVIDIA's toolkit")
    own = REPOSITORY / "native/include"
    command = ["gcc", "-std=c11", "-fsyntax-only", f"-I{own}", f"-I{theirs}", str(HERE / "abi_check.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
