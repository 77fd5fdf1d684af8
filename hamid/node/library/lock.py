# SPDX-License-Identifier: Apache-2.0
"""One writer at a time in a library store: flock on `.hami/lock`, and `.hami/lock.d` while something changes.

The directory excludes scripts/vgpu-init.sh where it has no flock(1); its file `owner` reads `flock|mkdir PID START
PIDNS`. Who changes something also writes to the lock file: text in it, found under the flock, tells the next one that
work was interrupted.
"""

import contextlib
import fcntl
import os
import time
from typing import Final

from hamid.core.errors import LibraryBusy
from hamid.node.files.tree import Folder, write_all

WAIT_SECONDS: Final = 60.0
_LOCK, _CLAIM, _OWNER = "lock", "lock.d", "owner"
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_POLL_SECONDS = 0.01
_NAMELESS_STALE_SECONDS = 10.0
_FOREIGN_STALE_SECONDS = 600.0


class Lock:
    """Held from construction until `release`; `interrupted` tells that an earlier owner died at work.

    The store's folder is the lock's own, and closed with it.
    """

    def __init__(self, store: Folder, *, wait: float = WAIT_SECONDS) -> None:
        self._store = store
        self._calls = store.calls
        self._claimed = False
        self.interrupted = False
        deadline = time.monotonic() + wait
        try:
            self._descriptor = self._acquire(deadline)
        except BaseException:
            store.close()
            raise
        try:
            self.interrupted = os.fstat(self._descriptor).st_size > 0
            self._outwait_claim(deadline)
        except BaseException:
            self.release()
            raise

    def claim(self) -> bool:
        """From here on things change: those without flock stay out too. False when one of them was faster."""
        if self._claimed:
            return True
        write_all(self._calls, self._descriptor, b"at work\n")
        # Set before the claim is made, so that release clears it away after an error on the way.
        self._claimed = True
        # A left-over of a dead owner serves as ours.
        if not self._store.make_folder(_CLAIM) and not self.interrupted:
            self._claimed = False
            return False
        inner = self._store.folder(_CLAIM)
        try:
            with contextlib.suppress(FileNotFoundError):
                inner.unlink(_OWNER)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = self._calls(os.open, _OWNER, flags, 0o644, dir_fd=inner.descriptor)
            write_all(self._calls, descriptor, f"flock {_identity(os.getpid())}\n".encode())
            self._calls(os.close, descriptor)
        finally:
            inner.close()
        return True

    def release(self) -> None:
        """Others may go on."""
        for _ in range(2):
            # What cannot be cleared away is a dead owner's to the next one.
            with contextlib.suppress(OSError):
                if self._claimed:
                    self._drop_claim()
                    self._calls(os.ftruncate, self._descriptor, 0)
                self._claimed = False
        os.close(self._descriptor)
        self._store.close()

    def _drop_claim(self) -> None:
        try:
            inner = self._store.folder(_CLAIM)
        except FileNotFoundError:
            return
        try:
            with contextlib.suppress(FileNotFoundError):
                inner.unlink(_OWNER)
        finally:
            inner.close()
        self._store.remove_folder(_CLAIM)

    def _is_void(self, owner: str, age: float) -> bool:
        """True when the claim's owner cannot be at work; one that had no time for its name used the flock or is new."""
        return (not owner and self.interrupted) or _is_stale(owner, age)

    def _acquire(self, deadline: float) -> int:
        while True:
            descriptor = self._calls(os.open, _LOCK, _OPEN, 0o644, dir_fd=self._store.descriptor)
            try:
                self._await_flock(descriptor, deadline)
                named = self._store.status(_LOCK)
                # Who removes the lock file lets two in; the name decides.
                if named is not None and named.st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _await_flock(self, descriptor: int, deadline: float) -> None:
        while True:
            try:
                return self._calls(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._pause(deadline, "another sync")

    def _outwait_claim(self, deadline: float) -> None:
        while (status := self._store.status(_CLAIM)) is not None:
            owner = self._owner()
            if self._is_void(owner, time.time() - status.st_mtime):
                self.interrupted = True
                return
            self._pause(deadline, f"vgpu-init.sh ({owner or 'starting'})")

    def _owner(self) -> str:
        """What the claim says of its owner; empty when it says nothing yet or is just gone."""
        try:
            inner = self._store.folder(_CLAIM)
        except FileNotFoundError:
            return ""
        try:
            return (inner.read(_OWNER) or b"").decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""
        finally:
            inner.close()

    def _pause(self, deadline: float, holder: str) -> None:
        if time.monotonic() >= deadline:
            raise LibraryBusy(
                f"'{self._store.path}' is held by {holder}",
                f"try again when it has ended; if nothing runs, remove '{self._store.join(_CLAIM)}'",
            )
        time.sleep(_POLL_SECONDS)


def _is_stale(owner: str, age: float) -> bool:
    """True when the owner cannot be at work: we hold the flock, so that one that used it is dead."""
    match owner.split():
        case ["flock", _, _, _]:
            return True
        case [_, _, _, namespace] if namespace != _namespace():
            return age > _FOREIGN_STALE_SECONDS
        case [_, pid, start, namespace]:
            return f"{pid} {start} {namespace}" != _identity(pid)
    return age > _NAMELESS_STALE_SECONDS


def _identity(pid: int | str) -> str:
    """`PID START PIDNS` of a process, which no later process has; empty fields when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            start = file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = ""
    return f"{pid} {start} {_namespace()}"


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")
