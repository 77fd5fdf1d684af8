# SPDX-License-Identifier: Apache-2.0
"""Files that change together: written beside their destinations, then all published, or none.

The first rename comes after the last byte is on disk; if a later step fails, what was published is taken back.
"""

import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from hamid.node.files.replace import prepare
from hamid.node.files.tree import Tree

_T = TypeVar("_T")
# Each waits for its fsync with an open descriptor, so that an error of the disk is not lost.
_OPEN_FILES = 64


class _Staged:
    """One file on its way."""

    def __init__(self, path: str, temporary: str, descriptor: int) -> None:
        self.path = path
        self.temporary = temporary
        self.descriptor = descriptor
        self.published = False
        # The temporary second name of the previous file: None without one, empty when it can have none.
        self.former: str | None = None


class Staging:
    """Use as a context: leaving it without `publish`, or by an error, leaves everything as it was."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._calls = tree.root.calls
        self._staged: list[_Staged] = []
        self._open: list[_Staged] = []
        self._folders: list[str] = []
        self._modes: list[tuple[str, int]] = []
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if not self._done:
            self._undo()
        for staged in self._staged:
            if staged.former:
                # Also after it was renamed back: two names of one file stay two when one is renamed to the other.
                self._attempt(staged.path, "unlink", staged.former)

    def make_folder(self, path: str) -> None:
        """A folder exists at the path."""
        folder, name = self._tree.place(path)
        if folder.status(name) is None:
            self._folders.append(path)
            folder.make_folder(name)

    def write(self, path: str, mode: int, fill: Callable[[int], _T]) -> _T:
        """A file is made ready; `fill` writes its content to a descriptor, and its answer is passed on."""
        folder, _ = self._tree.place(path)
        owner = (0, 0) if os.geteuid() == 0 else None
        temporary, descriptor, answer = prepare(folder, fill, mode=mode, owner=owner)
        staged = _Staged(path, temporary, descriptor)
        self._staged.append(staged)
        self._open.append(staged)
        # Starts the writing to disk now, so that the fsync of all waits once.
        self._calls(os.posix_fadvise, descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if len(self._open) >= _OPEN_FILES:
            self._settle()
        return answer

    def set_mode(self, path: str, mode: int) -> None:
        """An existing file gets these permissions."""
        folder, name = self._tree.place(path)
        status = folder.status(name)
        if status is not None:
            self._modes.append((path, status.st_mode & 0o7777))
        self._change_mode(path, mode)

    def publish(self) -> None:
        """Everything takes its place, in the order in which it was made ready, and survives a power cut."""
        self._settle()
        for staged in self._staged:
            folder, name = self._tree.place(staged.path)
            staged.former = folder.keep(name)
            folder.rename(staged.temporary, name)
            staged.published = True
        touched = [staged.path for staged in self._staged] + self._folders
        for above in dict.fromkeys(path.rpartition("/")[0] for path in touched):
            self._tree.folder(above).sync()
        self._done = True

    def _change_mode(self, path: str, mode: int) -> None:
        folder, name = self._tree.place(path)
        descriptor = folder.open(name)
        try:
            self._calls(os.fchmod, descriptor, mode)
        finally:
            self._calls(os.close, descriptor)

    def _settle(self) -> None:
        """What was made ready is on disk."""
        for staged in self._open:
            self._calls(os.fsync, staged.descriptor)
        self._close()

    def _close(self) -> None:
        while self._open:
            with contextlib.suppress(OSError):
                self._calls(os.close, self._open.pop().descriptor)

    def _undo(self) -> None:
        """Take everything back, the last first, as far as the disk lets us."""
        for staged in reversed(self._staged):
            name = staged.path.rpartition("/")[2]
            # A rename that failed may have happened all the same.
            self._attempt(staged.path, "unlink", staged.temporary)
            if staged.former:
                self._attempt(staged.path, "rename", staged.former, name)
            elif staged.published and staged.former is None:
                self._attempt(staged.path, "unlink", name)
        for path, mode in self._modes:
            with contextlib.suppress(OSError):
                self._change_mode(path, mode)
        for path in reversed(self._folders):
            self._tree.forget()
            self._attempt(path, "remove_folder", path.rpartition("/")[2])

    def _attempt(self, path: str, verb: str, *names: str) -> bool:
        """Do it in the folder of `path`, once more if it fails; True when it is done."""
        for _ in range(2):
            try:
                folder, _name = self._tree.place(path)
                getattr(folder, verb)(*names)
            except FileNotFoundError:
                return False
            except OSError:
                continue
            return True
        return False
