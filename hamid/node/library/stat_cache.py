# SPDX-License-Identifier: Apache-2.0
"""What is known of files without reading them again: the stat-cache, and how a file's content is read for it.

A digest is believed only for a file whose device, inode, size and times are those of the reading, and whose
last change lies at least one tick of the kernel's clock before it, so that no later write can look the same.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from hamid.core.library.elf import library_problem
from hamid.core.library.plan import Digest
from hamid.node.files.tree import Calls, Folder, read_all, write_all

CACHE: Final = "stat-cache.json"
CHUNK: Final = 256 * 1024
_MOST_ENTRIES = 8192
_SECOND_NS = 1_000_000_000
# A file system that stores whole seconds may be off by two (vfat).
_COARSE_NS = 2 * _SECOND_NS
_CLOCK_REALTIME_COARSE = 5
_LONGEST_TICK_SECONDS = 0.05


class SourceChangedError(Exception):
    """A file changed while it was read: the signal to start again, not an outcome."""


class FileFacts(Struct, array_like=True):
    """What was found in a file: its digest, and whether it is a library (None when not yet checked)."""

    md5: str = ""
    sha256: str = ""
    problem: str | None = None


def identity(status: os.stat_result) -> str:
    """The key under which a file's content is known."""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def is_settled(status: os.stat_result) -> bool:
    """True when a write from now on must show in the file's times."""
    tick = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
    whole_seconds = status.st_ctime_ns % _SECOND_NS == 0
    return tick - status.st_ctime_ns > (_COARSE_NS if whole_seconds else 0)


def settle(status: os.stat_result) -> None:
    """Wait, at most some ticks, until the file's last change lies in the past of the kernel's clock."""
    deadline = time.monotonic() + _LONGEST_TICK_SECONDS
    while not is_settled(status) and time.monotonic() < deadline:
        time.sleep(0.001)


class StatCache:
    """What was seen in earlier runs and in this one."""

    def __init__(self, data: bytes | None, *, machine: str) -> None:
        self._machine = machine
        self._seen: dict[str, FileFacts] = _parse(data)
        self._used: dict[str, FileFacts] = {}
        self._changed = False

    def forget(self) -> None:
        """Nothing that was seen earlier is believed."""
        self._seen = {}

    def adopt(self, other: "StatCache") -> None:
        """What the other has seen in this run is seen by this one."""
        self._used.update(other.seen_now)
        self._changed = self._changed or other.changed

    @property
    def seen_now(self) -> dict[str, FileFacts]:
        """What this run used or found, by identity."""
        return self._used

    @property
    def changed(self) -> bool:
        """True when there is something to write down."""
        return self._changed

    def dump(self) -> bytes:
        """The cache as it is written to disk; without what this run did not use when it grows too large."""
        entries = {**self._seen, **self._used}
        return msgspec.json.encode(entries if len(entries) <= _MOST_ENTRIES else self._used)

    def note(self, status: os.stat_result, digest: Digest) -> None:
        """Remember what a file holds that we have read or written ourselves."""
        seen = self._lookup(status)
        self._remember(status, FileFacts(digest.md5, digest.sha256, seen.problem if seen else None))

    def digest(self, folder: Folder, name: str, status: os.stat_result) -> Digest:
        """What the file at the name holds; raises SourceChangedError when it is not the file of `status` throughout."""
        seen = self._lookup(status)
        if seen is None or not seen.sha256:
            found = self._read(folder, name, status)
            seen = FileFacts(found.md5, found.sha256, seen.problem if seen else None)
            self._remember(status, seen)
        return Digest(seen.md5, seen.sha256)

    def problem(self, folder: Folder, name: str, status: os.stat_result) -> str:
        """What keeps the file at the name from being a libvgpu for this machine; empty for nothing."""
        seen = self._lookup(status)
        if seen is None or seen.problem is None:
            problem = _library_problem(folder, name, status, self._machine)
            seen = FileFacts(seen.md5, seen.sha256, problem) if seen else FileFacts(problem=problem)
            self._remember(status, seen)
        return seen.problem or ""

    def _lookup(self, status: os.stat_result) -> FileFacts | None:
        key = identity(status)
        seen = self._used.get(key) or self._seen.get(key)
        if seen is not None:
            self._used[key] = seen
        return seen

    def _remember(self, status: os.stat_result, seen: FileFacts) -> None:
        if is_settled(status):
            self._used[identity(status)] = seen
            self._changed = True

    def _read(self, folder: Folder, name: str, status: os.stat_result) -> Digest:
        descriptor = open_unchanged(folder, name, status)
        try:
            settle(status)
            return digest_of(folder.calls, descriptor, status)
        finally:
            folder.calls(os.close, descriptor)


def _parse(data: bytes | None) -> dict[str, FileFacts]:
    try:
        return msgspec.json.decode(data, type=dict[str, FileFacts]) if data else {}
    except msgspec.DecodeError:
        return {}


def open_unchanged(folder: Folder, name: str, status: os.stat_result) -> int:
    """The file of `status` for reading; raises SourceChangedError when another file is there."""
    try:
        descriptor = folder.open(name)
    except FileNotFoundError as error:
        raise SourceChangedError from error
    if identity(folder.calls(os.fstat, descriptor)) != identity(status):
        folder.calls(os.close, descriptor)
        raise SourceChangedError
    return descriptor


def digest_of(calls: Calls, descriptor: int, status: os.stat_result) -> Digest:
    """The digest of an open file; raises SourceChangedError when it changes meanwhile."""
    # MD5 serves change detection alone, as in HAMi.
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    for chunk in _chunks(calls, descriptor, status):
        md5.update(chunk)
        sha256.update(chunk)
    return Digest(md5.hexdigest(), sha256.hexdigest())


def copy(calls: Calls, descriptor: int, status: os.stat_result, target: int) -> Digest:
    """Copy an open file to `target` and return its digest. Raises SourceChangedError on a change meanwhile."""
    sha256 = hashlib.sha256()
    for chunk in _chunks(calls, descriptor, status):
        write_all(calls, target, chunk)
        sha256.update(chunk)
    return Digest("", sha256.hexdigest())


def _chunks(calls: Calls, descriptor: int, status: os.stat_result) -> Iterator[memoryview]:
    """The content of an open file; raises SourceChangedError at its end if it is not what `status` says."""
    size, buffer = 0, memoryview(bytearray(min(CHUNK, status.st_size + 1)))
    while count := calls(os.readv, descriptor, [buffer]):
        size += count
        yield buffer[:count]
        if count < len(buffer):
            break
    if size != status.st_size or identity(calls(os.fstat, descriptor)) != identity(status):
        raise SourceChangedError


def _library_problem(folder: Folder, name: str, status: os.stat_result, machine: str) -> str:
    if status.st_size == 0:
        return "empty, not an ELF file"
    descriptor = open_unchanged(folder, name, status)
    try:
        settle(status)
        # Read, not mapped: truncating a mapped file would kill this process.
        data = read_all(folder.calls, descriptor, status.st_size)
        if identity(folder.calls(os.fstat, descriptor)) != identity(status):
            raise SourceChangedError
        return library_problem(data, machine)
    finally:
        folder.calls(os.close, descriptor)
