# SPDX-License-Identifier: Apache-2.0
"""A container with a share of a GPU: its limits, its region, its processes."""

import subprocess
from pathlib import Path

from hamid.node.paths import native_file
from hamid.node.simulation import control
from support import cudatools

MIB = 1 << 20
(LIBRARY,) = map(str, Path(native_file(".")).glob("libvgpu.so.*"))


class Container:
    """Starts clients that share one limit; `used` is what the driver itself holds for them, in bytes."""

    def __init__(self, state, place, limit_mib, more):
        self.state = state
        self.cache = place / "vgpu.cache"
        limit = {} if limit_mib is None else {"CUDA_DEVICE_MEMORY_LIMIT_0": f"{limit_mib}m"}
        self.environment = {
            "LD_PRELOAD": LIBRARY,
            "CUDA_DEVICE_MEMORY_SHARED_CACHE": str(self.cache),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            **limit,
            **more,
        }

    def client(self, *, preload=True, opened=True, **more):
        """A client with a context."""
        variables = {**self.environment, **more}
        if not preload:
            del variables["LD_PRELOAD"]
        client = cudatools.Client(self.state, **variables)
        if opened:
            assert client("d.open()") == client.pid
        return client

    def run(self, *command, **more):
        """Any program in the container."""
        environment = cudatools.environment(self.state, **{**self.environment, **more})
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False, close_fds=True
        )

    def used(self):
        """Bytes that the driver holds on all devices for live processes."""
        return sum(each.memory_bytes for each in control.usage(str(self.state)))


def close(*clients):
    """Ends clients and waits for them."""
    for client in clients:
        client.kill()


def exists(pid):
    """True while there is such a process."""
    return Path(f"/proc/{pid}").exists()
