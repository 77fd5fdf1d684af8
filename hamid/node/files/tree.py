# SPDX-License-Identifier: Apache-2.0
"""Directories and files that cannot be swapped under us: opened one by one, never through a link.

Every operation goes through one `Calls` object, which is where a test counts, fails or kills.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from msgspec import Struct

from hamid.core.errors import HamiError, LibraryFailed, NotPermitted, UnsafePath
from hamid.core.library.plan import TEMPORARY

_P = ParamSpec("_P")
_T = TypeVar("_T")

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a planted FIFO would hold us for ever.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDERS = 64
_MORE = 65536
_OTHERS_WRITE = 0o002
# A file system without hard links, or a file that may not get one: it cannot be brought back.
_CANNOT_LINK = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
_GROUP_WRITES = 0o020


class Calls:
    """The gate to the system: runs what it is given. A stand-in may count, fail or die instead."""

    def __call__(self, function: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        """The result of the call."""
        return function(*arguments, **named)


REAL = Calls()


def explain(error: OSError, path: str) -> HamiError:
    """What an error of the system means to the operator."""
    where = error.filename if isinstance(error.filename, str) else path
    text = f"'{where}': {(error.strerror or str(error)).lower()}"
    if isinstance(error, PermissionError):
        return NotPermitted(text, "run as root (sudo), or name your own directory with --dest or --root")
    return LibraryFailed(text, "nothing was changed; fix the cause, then try again")


def trusted(status: os.stat_result) -> bool:
    """True for a file that only root and we can write to."""
    return status.st_uid in {0, os.geteuid()} and not status.st_mode & _OTHERS_WRITE


class Folder:
    """An open directory and the operations on its entries; no name given to it is ever followed."""

    def __init__(self, calls: Calls, descriptor: int, path: str) -> None:
        self.calls = calls
        self.descriptor = descriptor
        self.path = path

    def join(self, name: str) -> str:
        """An entry's full path, for messages."""
        return f"{self.path.rstrip('/')}/{name}"

    def _do(self, function: Callable[..., _T], name: str, *arguments: object, **named: object) -> _T:
        """One call; an error of it names the full path."""
        try:
            return self.calls(function, name, *arguments, **named)
        except OSError as error:
            error.filename = self.join(name)
            raise

    def close(self) -> None:
        """The directory is open no more."""
        self.calls(os.close, self.descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """What is at the name, None for nothing."""
        try:
            return self._do(os.stat, name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """The entries' names."""
        return self.calls(os.listdir, self.descriptor)

    def open(self, name: str) -> int:
        """A regular file for reading; raises UnsafePath for a link or a special file."""
        try:
            descriptor = self._do(os.open, name, OPEN_FILE, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafePath(f"'{self.join(name)}' is a link", "move it away") from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnsafePath(f"'{self.join(name)}' is not a regular file", "move it away")
        return descriptor

    def read(self, name: str) -> bytes | None:
        """The whole file, None when there is nothing, or something that we do not trust."""
        try:
            descriptor = self._do(os.open, name, OPEN_FILE, dir_fd=self.descriptor)
        except OSError as error:
            # A link, a socket, a pipe without a writer.
            if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
                return None
            raise
        try:
            status = self.calls(os.fstat, descriptor)
            if not stat.S_ISREG(status.st_mode) or not trusted(status):
                return None
            return read_all(self.calls, descriptor, status.st_size)
        finally:
            self.calls(os.close, descriptor)

    def folder(self, name: str) -> "Folder":
        """A directory in this one; raises UnsafePath for a link or a file."""
        try:
            descriptor = self._do(os.open, name, OPEN_FOLDER, dir_fd=self.descriptor)
        except NotADirectoryError as error:
            raise UnsafePath(f"'{self.join(name)}' is a link or not a directory", _REAL_PATH) from error
        return Folder(self.calls, descriptor, self.join(name))

    def make_folder(self, name: str) -> bool:
        """A directory of this name exists; True when it is made now, for us to write and all to read."""
        try:
            self._do(os.mkdir, name, 0o755, dir_fd=self.descriptor)
        except FileExistsError:
            return False
        inner = self.folder(name)
        self.calls(os.fchmod, inner.descriptor, 0o755)
        inner.close()
        return True

    def temporary(self, mode: int = 0o600) -> tuple[str, int]:
        """A new empty file of an unused name, open for writing."""
        while True:
            name = TEMPORARY + os.urandom(8).hex()
            try:
                return name, self._do(os.open, name, _CREATE, mode, dir_fd=self.descriptor)
            except FileExistsError:
                continue

    def keep(self, name: str) -> str | None:
        """A second, temporary name for the file: None when there is none, empty when it can have no second name."""
        second = TEMPORARY + os.urandom(8).hex()
        here = self.descriptor
        try:
            self._do(os.link, name, second, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            if error.errno in _CANNOT_LINK:
                return ""
            raise
        return second

    def rename(self, source: str, target: str) -> None:
        """The file gets the other name and replaces what had it."""
        self._do(os.rename, source, target, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """The name is gone."""
        self._do(os.unlink, name, dir_fd=self.descriptor)

    def remove_folder(self, name: str) -> None:
        """The empty directory is gone."""
        self._do(os.rmdir, name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """The names in this directory survive a power cut."""
        self.calls(os.fsync, self.descriptor)


_REAL_PATH = "links are not followed: name the real directory"


class Opened(Struct, frozen=True):
    """A directory that was reached safely, and what an operator should know about the way there."""

    folder: Folder
    warnings: tuple[str, ...]


def open_safely(calls: Calls, path: str, *, create: bool = False) -> Opened | None:
    """A directory opened from / down; None when it does not exist and is not to be made.

    Raises UnsafePath for a link on the way, or a directory in which others can put what they like.
    """
    names = [name for name in path.split("/") if name]
    folder = Folder(calls, calls(os.open, "/", OPEN_FOLDER), "/")
    try:
        warnings = check_folder(folder, ours=not names)
        for depth, name in enumerate(names, 1):
            above, folder = folder, _descend(folder, name, create=create)
            above.close()
            warnings += check_folder(folder, ours=depth == len(names))
    except BaseException as error:
        folder.close()
        if isinstance(error, FileNotFoundError) and not create:
            return None
        raise
    return Opened(folder, tuple(warnings))


def _descend(folder: Folder, name: str, *, create: bool) -> Folder:
    try:
        return folder.folder(name)
    except FileNotFoundError:
        if not create:
            raise
    folder.make_folder(name)
    folder.sync()
    return folder.folder(name)


def check_folder(folder: Folder, *, ours: bool = False) -> list[str]:
    """Warnings about who else can write there; raises UnsafePath when everybody can, or when it must be `ours`."""
    status = folder.calls(os.fstat, folder.descriptor)
    own = status.st_uid in {0, os.geteuid()}
    sticky = bool(status.st_mode & stat.S_ISVTX)
    if status.st_mode & _OTHERS_WRITE and not (sticky and own):
        raise UnsafePath(
            f"'{folder.path}' is writable by others (mode {stat.S_IMODE(status.st_mode):04o})",
            f"run: chmod o-w '{folder.path}'",
        )
    if ours and not own:
        raise UnsafePath(f"'{folder.path}' belongs to uid {status.st_uid}", f"run: chown root:root '{folder.path}'")
    if not own:
        return [f"'{folder.path}' belongs to uid {status.st_uid}, who can replace what is in it"]
    if status.st_mode & _GROUP_WRITES and not sticky:
        return [f"'{folder.path}' is writable by group {status.st_gid}"]
    return []


class Tree:
    """A directory and the folders below it, each opened when asked for; few are open at a time."""

    def __init__(self, root: Folder, *, ours: bool) -> None:
        self.root = root
        self._ours = ours
        self._open: dict[str, Folder] = {}
        self.warnings: dict[str, None] = {}

    def folder(self, path: str) -> Folder:
        """The folder at a relative path; valid until the next one is asked for."""
        if not path:
            return self.root
        found = self._open.get(path)
        if found is None:
            if len(self._open) >= _OPEN_FOLDERS:
                self.forget()
            above, _, name = path.rpartition("/")
            found = self.folder(above).folder(name)
            self._open[path] = found
            if self._ours:
                self.warnings.update(dict.fromkeys(check_folder(found, ours=True)))
        return found

    def place(self, path: str) -> tuple[Folder, str]:
        """The folder that holds a relative path, and the path's last name."""
        above, _, name = path.rpartition("/")
        return self.folder(above), name

    def forget(self) -> None:
        """Close every folder but the root."""
        for folder in self._open.values():
            folder.close()
        self._open.clear()

    def close(self) -> None:
        """Close everything."""
        self.forget()
        self.root.close()


def read_all(calls: Calls, descriptor: int, expected: int) -> bytes:
    """Everything from here to the end; one call for a file of the `expected` size."""
    part = calls(os.read, descriptor, expected + 1)
    parts = [part]
    while part and len(part) != expected:
        expected = 0
        part = calls(os.read, descriptor, _MORE)
        parts.append(part)
    return b"".join(parts)


def write_all(calls: Calls, descriptor: int, data: bytes | memoryview) -> None:
    """All of the data is written, however little each call takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[calls(os.write, descriptor, rest) :]
