# SPDX-License-Identifier: Apache-2.0
"""Replace a file atomically: readers see the old content or the new, also after a crash at any instruction.

Every file that hamid or hamictl writes is written here, or by `Staging`, which replaces several files together. Two
renames remain elsewhere because they write no content: a device node (mknod) and the plugin's socket (bind).
"""

import os
from collections.abc import Callable
from typing import TypeVar

from hamid.node.files.tree import REAL, Calls, Folder, write_all

_T = TypeVar("_T")
# The directory may be reached through links: /run and an operator's path often are.
_OPEN_PARENT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MODE_BEFORE_UMASK = 0o666

Owner = tuple[int, int]


def replace_file(
    path: str,
    data: bytes,
    *,
    mode: int | None = 0o644,
    owner: Owner | None = None,
    durable: bool = True,
    calls: Calls = REAL,
) -> None:
    """The file at the path holds `data`; a link there is replaced, not followed. Raises OSError that names the path.

    `mode` None is what the umask leaves; `owner` is (uid, gid). With `durable` the file survives a power cut.
    An error leaves no temporary file. If only the last call, the directory's flush, fails, the new content is there.
    """
    above, name = os.path.split(path)
    try:
        folder = Folder(calls, calls(os.open, above or ".", _OPEN_PARENT), above)
        try:
            replace_in(folder, name, data, mode=mode, owner=owner, durable=durable)
        finally:
            folder.close()
    except OSError as error:
        error.filename = path
        raise


def replace_in(
    folder: Folder,
    name: str,
    data: bytes,
    *,
    mode: int | None = 0o644,
    owner: Owner | None = None,
    durable: bool = True,
) -> None:
    """The same for a name in an open directory."""
    temporary, descriptor, _ = prepare(
        folder, lambda target: write_all(folder.calls, target, data), mode=mode, owner=owner
    )
    try:
        try:
            if durable:
                folder.calls(os.fsync, descriptor)
        finally:
            folder.calls(os.close, descriptor)
        folder.rename(temporary, name)
    except BaseException:
        discard(folder, temporary)
        raise
    if durable:
        folder.sync()


def prepare(
    folder: Folder, fill: Callable[[int], _T], *, mode: int | None, owner: Owner | None = None
) -> tuple[str, int, _T]:
    """A temporary file that `fill` wrote, not yet flushed: its name, its descriptor, and the answer of `fill`."""
    temporary, descriptor = folder.temporary(_MODE_BEFORE_UMASK if mode is None else 0o600)
    try:
        answer = fill(descriptor)
        if owner is not None:
            folder.calls(os.fchown, descriptor, *owner)
        if mode is not None:
            folder.calls(os.fchmod, descriptor, mode)
    except BaseException:
        try:
            folder.calls(os.close, descriptor)
        finally:
            discard(folder, temporary)
        raise
    return temporary, descriptor, answer


def discard(folder: Folder, temporary: str) -> None:
    """The temporary file is gone, as far as the disk permits; a second attempt outlives an error of the moment."""
    for _ in range(2):
        try:
            folder.unlink(temporary)
        except FileNotFoundError:
            return
        except OSError:
            continue
        return
