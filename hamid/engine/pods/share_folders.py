# SPDX-License-Identifier: Apache-2.0
"""The directory of each container with shares, where libvgpu accounts for the usage of its processes.

Invariant: containers write there, so no file or link in it is trusted; a new grant starts with an empty directory.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.config.config import Config
from hamid.core.errors import NodeError
from hamid.core.library.plan import CONTAINERS, PRELOAD, preload_line
from hamid.node.files.removal import remove_tree
from hamid.node.files.replace import replace_file
from hamid.node.files.tree import REAL, Folder, explain, open_safely
from hamid.node.paths import Paths

_FOR_ALL = 0o777
_LOCKS = "vgpulock"


def library_dir(paths: Paths, config: Config) -> str:
    """The node's directory with libvgpu and the containers' directories."""
    return f"{paths.under(config.hook_path).rstrip('/')}/vgpu"


def preload_file(paths: Paths, config: Config) -> str:
    """The node's file that containers get as /etc/ld.so.preload.

    The library's own file names the path on the node; below another root, containers have a different path.
    """
    return f"{library_dir(paths, config)}/{PRELOAD}" if paths.root == "/" else f"{paths.state_dir}/{PRELOAD}"


def path_of(paths: Paths, config: Config, owner: PodOwner) -> str:
    """The container's directory on the node."""
    return f"{library_dir(paths, config)}/{CONTAINERS}/{owner.folder}"


def make(paths: Paths, config: Config, owner: PodOwner) -> None:
    """Create an empty directory for the container, and the one for libvgpu's locks. Raises HamiError."""
    with _containers(paths, config) as above:
        name = owner.folder
        if above.status(name) is not None:
            remove_tree(above, name)
        _open_to_all(above, name)
    _make_shared(paths, config)


def ensure(paths: Paths, config: Config, owner: PodOwner) -> bool:
    """Make sure that the directories exist, and keep their content; True if one of the container's was recreated."""
    with _containers(paths, config) as above:
        missing = [name for name in owner.folders if above.status(name) is None]
        for name in owner.folders:
            _open_to_all(above, name)
    _make_shared(paths, config)
    return bool(missing)


def remove(paths: Paths, config: Config, claim: Claim) -> None:
    """Remove the container's directory; does nothing for a claim of instances. Raises HamiError."""
    if claim.owner is None or not claim.shares:
        return
    with _containers(paths, config) as above:
        for name in claim.owner.folders:
            if above.status(name) is not None:
                remove_tree(above, name)


@contextmanager
def _containers(paths: Paths, config: Config) -> Iterator[Folder]:
    where = f"{library_dir(paths, config)}/{CONTAINERS}"
    try:
        opened = open_safely(REAL, where, create=True)
        if opened is None:
            raise NodeError(f"'{where}' could not be created", "check its file system")
        try:
            yield opened.folder
        finally:
            opened.folder.close()
    except OSError as error:
        raise explain(error, where) from error


def _open_to_all(above: Folder, name: str) -> None:
    above.make_folder(name)
    inner = above.folder(name)
    try:
        # Containers run as any user, so a umask must not restrict the mode.
        os.fchmod(inner.descriptor, _FOR_ALL)
    finally:
        inner.close()


def _make_shared(paths: Paths, config: Config) -> None:
    """The directory that all containers mount in addition to the library."""
    _make_locks(paths)
    if paths.root != "/":
        path = preload_file(paths, config)
        try:
            _write_once(path, preload_line(f"{config.hook_path}/vgpu"))
        except OSError as error:
            raise explain(error, path) from error


def _write_once(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:  # as here
        if file.read() == text:
            return
    replace_file(path, text.encode())


def _make_locks(paths: Paths) -> None:
    where = paths.under("/tmp")  # noqa: S108  # HAMi-core's place, which containers mount
    try:
        os.makedirs(where, mode=0o1777, exist_ok=True)  # pathlib costs start-up
        folder = Folder(REAL, os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), where)
        try:
            _open_to_all(folder, _LOCKS)
        finally:
            folder.close()
    except OSError as error:
        raise explain(error, f"{where}/{_LOCKS}") from error
