# SPDX-License-Identifier: Apache-2.0
"""Other programs that would give this node's GPUs to containers, or change their MIG layout.

When one is found, hamid serves read-only and says so until `--takeover` or until it is gone. It is never removed.
"""

import os
from collections.abc import Iterator
from typing import Final

from hamid.core.errors import KubeletFailed
from hamid.node.kubelet.grpc import advertised_ids, listens
from hamid.node.paths import Paths

_ASK_SECONDS: Final = 2.0
# GPU and MIG UUIDs, bare or with the numbers that HAMi and NVIDIA's time slicing append.
_OURS: Final = ("GPU-", "MIG-")
_REGISTRATIONS: Final = "plugins_registry"
_DRA: Final = "gpu.nvidia.com"
_MIG_MANAGERS: Final = frozenset(
    {"nvidia-mig-manager", "nvidia-mig-mana", "mig-manager", "nvidia-mig-parted", "nvidia-mig-part"}
)
_COMM_BYTES: Final = 64


class OtherManagers:
    """Checks kubelet's plugin sockets and the node's processes; `own_socket` is hamid's own."""

    def __init__(
        self, paths: Paths, kubelet_dir: str, own_socket: str, *, takeover: bool, processes: bool = True
    ) -> None:
        self._proc = paths.under("/proc")
        self._kubelet_dir = kubelet_dir
        self._own = own_socket
        self._takeover = takeover
        self._processes = processes

    def reason(self) -> str:
        """A text that names the other manager of this node's GPUs; empty if there is none."""
        return "" if self._takeover else next(self._found(), "")

    def _found(self) -> Iterator[str]:
        yield from self._plugins()
        yield from self._dra()
        if self._processes:
            yield from self._managers()

    def _plugins(self) -> Iterator[str]:
        folder = os.path.join(self._kubelet_dir, "device-plugins")
        for path in _sockets(folder):
            name = os.path.basename(path)
            if name not in {"kubelet.sock", self._own} and name[0] != "." and _offers_gpus(path):
                yield f"another device plugin offers NVIDIA GPUs on '{path}'"

    def _dra(self) -> Iterator[str]:
        for path in _sockets(os.path.join(self._kubelet_dir, _REGISTRATIONS)):
            if os.path.basename(path).startswith(_DRA) and listens(path):
                yield f"NVIDIA's DRA driver answers on '{path}'"

    def _managers(self) -> Iterator[str]:
        try:
            pids = [name for name in os.listdir(self._proc) if name.isdigit()]
        except OSError:
            return
        for pid in pids:
            name = _comm(os.path.join(self._proc, pid, "comm"))
            if name in _MIG_MANAGERS:
                yield f"process {pid} ({name}) changes MIG layouts on this node"


def _sockets(folder: str) -> list[str]:
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".sock"))
    except OSError:
        return []


def _offers_gpus(path: str) -> bool:
    """True for a plugin that lists GPUs; one that listens but does not list its devices is judged by its name."""
    if not listens(path):
        return False
    try:
        return any(each.startswith(_OURS) for each in advertised_ids(path, _ASK_SECONDS))
    except KubeletFailed:
        return "nvidia" in os.path.basename(path)


def _comm(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_COMM_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""
