# SPDX-License-Identifier: Apache-2.0
"""The cgroups of pods, in either hierarchy and as either of kubelet's drivers names them."""

import errno
import os
import re
from collections.abc import Callable, Collection, Iterator

from hamid.node.paths import Paths

_ROOT = "/sys/fs/cgroup"
# How deep a pod's cgroup lies at most: controller, kubelet's own root, kubepods, quality of service, pod.
_DEPTH = 6
_POD = re.compile(r"(?:.*-)?pod(?P<uid>[0-9A-Za-z_-]+?)(?:\.slice)?", re.ASCII)


def busy(paths: Paths, uid: str) -> str:
    """Why the pod with this uid may still have processes, in words, or nothing. What cannot be read counts as busy."""
    try:
        for path in _pod_cgroups(_root(paths), uid):
            if _populated(path):
                return f"'{path}' has processes"
    except OSError as error:
        return f"'{error.filename}' cannot be read: {error.strerror}"
    return ""


class PodCgroups:
    """Remembers where the cgroups of pods were, to tell a cgroup that is gone from one that never was."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._known: dict[str, set[str]] = {}

    def gone(self, uids: Collection[str], doubtful: Collection[str]) -> dict[str, bool]:
        """Whether it is gone, of each doubtful pod that ever had one; all but those of `uids` are forgotten."""
        self._known = {uid: paths for uid, paths in self._known.items() if uid in uids}
        if any(uid not in self._known for uid in uids):
            names = {_plain(uid): uid for uid in uids}
            for name, path in _all_pods(_root(self._paths)):
                if name in names:
                    self._known.setdefault(names[name], set()).add(path)
        # One hierarchy is enough: kubelets that know version 1 leave what runc made in `unified`.
        return {
            uid: any(_is_gone(path) for path in self._known[uid]) and not busy(self._paths, uid)
            for uid in doubtful
            if uid in self._known
        }


def _is_gone(path: str) -> bool:
    # Without kubelet's own cgroup above it nothing is known: the hierarchy may be mounted elsewhere now.
    return not os.path.isdir(path) and os.path.isdir(_kubelets(path))


def _all_pods(root: str) -> Iterator[tuple[str, str]]:
    """Every pod's name in `_plain` form, and its cgroup; what cannot be read is left out."""
    try:
        for path in _find(root, _is_pod, 0):
            found = _POD.fullmatch(os.path.basename(path))
            if found is not None:
                yield _plain(found["uid"]), path
    except OSError:
        return


def _is_pod(entry: str) -> bool:
    return _POD.fullmatch(entry) is not None


def _plain(uid: str) -> str:
    # systemd's driver writes dashes of the uid as underscores, which separate levels in its names.
    return uid.replace("-", "_")


def _root(paths: Paths) -> str:
    """A root without cgroups of its own, as a simulated node has, lives among those of the machine."""
    below = paths.under(_ROOT)
    return below if os.path.isdir(below) else _ROOT


def _kubelets(path: str) -> str:
    """The outermost cgroup of kubelet above a pod's."""
    mounted, root, below = path.rpartition(_ROOT)
    parts = below.split("/")
    depth = next((n for n, part in enumerate(parts, 1) if "kube" in part), len(parts))
    return mounted + root + "/".join(parts[:depth])


def _pod_cgroups(root: str, uid: str) -> Iterator[str]:
    names = (f"pod{uid}", f"pod{_plain(uid)}.slice")
    yield from _find(root, lambda entry: entry.endswith(names), 0)


def _find(path: str, wanted: Callable[[str], bool], depth: int) -> Iterator[str]:
    for entry in _folders(path):
        if wanted(entry):
            yield f"{path}/{entry}"
        elif depth < _DEPTH and (depth == 0 or "kube" in entry or "kube" in path):
            yield from _find(f"{path}/{entry}", wanted, depth + 1)


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
        with open(path, encoding="ascii") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # A cgroup that is being removed.
        if error.errno == errno.ENODEV:
            return ""
        raise
