# SPDX-License-Identifier: Apache-2.0
"""Proves on this node that the installed libvgpu is loaded, limits, and shows the limit: with one client of 64 MiB."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Final

import msgspec

from hamid.core.errors import DriverMissing, HamiError, LibraryFailed
from hamid.core.library.selftest import LIMIT_MIB, Check, ClientReport, judge
from hamid.node.library import probe
from hamid.node.paths import native_file

_SECONDS: Final = 60.0
_KEPT: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "HAMI_SIM_STATE", "HAMI_SIM_NODE", "CUDA_VISIBLE_DEVICES")


def selftest(library: str, *, simulated: bool) -> tuple[Check, ...]:
    """Every check with what was seen; raises DriverMissing without CUDA, LibraryFailed when the client did not end."""
    with tempfile.TemporaryDirectory(prefix="hami-selftest-") as folder:
        environment = _environment(os.environ, library, folder, simulated=simulated)
        command = [sys.executable, "-I", probe.__file__, str(LIMIT_MIB)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise LibraryFailed(
                f"the client under '{library}' did not end within {_SECONDS:.0f} s", "try it without LD_PRELOAD"
            ) from error
        shared = os.path.exists(os.path.join(folder, "vgpu.cache"))
    if done.returncode != 0:
        raise _failure(done, library)
    return judge(msgspec.json.decode(done.stdout, type=ClientReport), library=library, region_made=shared)


def _environment(ours: Mapping[str, str], library: str, folder: str, *, simulated: bool) -> dict[str, str]:
    environment = {name: ours[name] for name in _KEPT if name in ours}
    if simulated:
        environment["LD_LIBRARY_PATH"] = native_file("simulator")
    return {
        **environment,
        "LD_PRELOAD": library,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_DEVICE_MEMORY_LIMIT": f"{LIMIT_MIB}m",
        "CUDA_DEVICE_MEMORY_SHARED_CACHE": f"{folder}/vgpu.cache",
    }


def _failure(done: "subprocess.CompletedProcess[str]", library: str) -> HamiError:
    said = done.stderr.strip().splitlines()
    last = said[-1][:300] if said else f"status {done.returncode}"
    if done.returncode == probe.NO_DRIVER:
        return DriverMissing(f"the client found no CUDA driver: {last}", "nvidia-smi must work, or try --sim")
    return LibraryFailed(f"the client under '{library}' failed: {last}", "try it without LD_PRELOAD")
