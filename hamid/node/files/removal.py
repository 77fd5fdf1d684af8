# SPDX-License-Identifier: Apache-2.0
"""Removes a directory that others have written: no link is followed, and no depth or number of entries stops it."""

import os
import stat

from hamid.core.library.plan import TEMPORARY
from hamid.node.files.tree import Folder


def remove_tree(above: Folder, name: str) -> None:
    """The directory `name` in `above` and all it holds are gone; folders inside are first moved up beside it.

    Moving keeps the work flat, so that a tree of any depth needs two open directories.
    """
    work = [name]
    while work:
        current = work.pop()
        folder = above.folder(current)
        try:
            work += _empty(above, folder)
        finally:
            folder.close()
        above.remove_folder(current)


def _empty(above: Folder, folder: Folder) -> list[str]:
    """Unlink the folder's files and move its folders to `above`; their new names."""
    moved = []
    for name in folder.names():
        status = folder.status(name)
        if status is None:
            continue
        if not stat.S_ISDIR(status.st_mode):
            folder.unlink(name)
            continue
        aside = TEMPORARY + os.urandom(8).hex()
        folder.calls(os.rename, name, aside, src_dir_fd=folder.descriptor, dst_dir_fd=above.descriptor)
        moved.append(aside)
    return moved
