# SPDX-License-Identifier: Apache-2.0
"""Our words for CUDA's binary interface against NVIDIA's own."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

from support import REPOSITORY
from support.narrow import present

HERE = Path(__file__).parent


def header_directory():
    """Where the cuda.h of the package nvidia-cuda-runtime lies."""
    folders = present(present(importlib.util.find_spec("nvidia")).submodule_search_locations)
    return next(header.parent for folder in folders for header in Path(folder).glob("*/include/cuda.h"))


def test_structures_and_values_are_those_of_cuda_h():
    """Every size, offset and value of native/include/cuda_abi.h is that of NVIDIA's header."""
    theirs = header_directory()
    own = REPOSITORY / "native/include"
    command = ["gcc", "-std=c11", "-fsyntax-only", f"-I{own}", f"-I{theirs}", str(HERE / "abi_check.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
