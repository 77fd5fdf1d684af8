# SPDX-License-Identifier: Apache-2.0
"""The cgroups of pods, in either hierarchy and as either of kubelet's drivers names them."""

import errno
import os
from collections.abc import Iterator

from hamid.node.paths import Paths

_ROOT = "/sys/fs/cgroup"
# How deep a pod's cgroup lies at most: controller, kubelet's own root, kubepods, quality of service, pod.
_DEPTH = 6


def busy(paths: Paths, uid: str) -> str:
    """Why the pod with this uid may still have processes, in words, or nothing. What cannot be read counts as busy."""
    try:
        for path in _pod_cgroups(paths.under(_ROOT), uid):
            if _populated(path):
                return f"'{path}' has processes"
    except OSError as error:
        return f"'{error.filename}' cannot be read: {error.strerror}"
    return ""


def _pod_cgroups(root: str, uid: str) -> Iterator[str]:
    # systemd's driver writes dashes of the uid as underscores, which separate levels in its names.
    names = (f"pod{uid}", f"pod{uid.replace('-', '_')}.slice")
    yield from _find(root, names, 0)


def _find(path: str, names: tuple[str, ...], depth: int) -> Iterator[str]:
    for entry in _folders(path):
        if entry.endswith(names):
            yield f"{path}/{entry}"
        elif depth < _DEPTH and (depth == 0 or "kube" in entry or "kube" in path):
            yield from _find(f"{path}/{entry}", names, depth + 1)


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _populated(path: str) -> bool:
    """True while a process is in the cgroup or below it."""
    events = _read(f"{path}/cgroup.events")
    if events is not None:
        return "populated 1" in events.splitlines()
    if (_read(f"{path}/cgroup.procs") or "").strip():
        return True
    return any(_populated(f"{path}/{entry}") for entry in _folders(path))


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123  # as everywhere in this room
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # A cgroup that is being removed.
        if error.errno == errno.ENODEV:
            return ""
        raise
