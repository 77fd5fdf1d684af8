# SPDX-License-Identifier: Apache-2.0
"""hamid's socket in kubelet's folder: bound under a temporary name, then put in place by one rename.

When a server ends, gRPC removes the path that it bound, even if another server's socket is there by then. With a name
per generation, an old server cannot remove its successor's socket, and kubelet never sees a half-made socket.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from itertools import count
from typing import Final

from hamid.core.errors import KubeletFailed
from hamid.node.kubelet.grpc import MAX_SOCKET_PATH, listens

Identity = tuple[int, int, int]
_generations: Final = count(1)


def identity(path: str) -> Identity | None:
    """Distinguishes this file from a later one with the same name; None if it does not exist."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    # A recreated socket often gets the inode of the removed one, but never its time of change.
    return status.st_dev, status.st_ino, status.st_ctime_ns


def place(folder: str, name: str) -> tuple[str, str]:
    """A free name to bind and the final path. Raises KubeletFailed if the name is in use or cannot be used."""
    final = os.path.join(folder, name)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{next(_generations)}")
    if len(os.fsencode(temporary)) > MAX_SOCKET_PATH:
        raise KubeletFailed(
            f"the socket's path '{temporary}' is longer than {MAX_SOCKET_PATH} bytes", "name a shorter kubelet root"
        )
    _check_free(final)
    for left in _leftovers(folder, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(left)
    return temporary, final


def remove(path: str, ours: Identity) -> None:
    """Remove the path if it is still hamid's socket."""
    if identity(path) == ours:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _check_free(final: str) -> None:
    try:
        mode = os.lstat(final).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise KubeletFailed(f"'{final}' is not a socket", "find out which program created it, then remove it")
    if listens(final):
        raise KubeletFailed(
            f"another process answers on '{final}'", "stop the other plugin; hamid leaves its socket alone"
        )


def _leftovers(folder: str, name: str) -> Iterator[str]:
    """Half-made sockets that killed hamid servers left behind."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(f".{name}.") and not entry.is_file() and not listens(entry.path):
                yield entry.path
