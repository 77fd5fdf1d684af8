# SPDX-License-Identifier: Apache-2.0
"""Finds the users of a library file in files of the kernel, of kubelet and of container runtimes.

Invariant: a reference is looked for in several ways, and anything that looks like a reference counts as one.
"""

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from hamid.core.library.plan import is_library

_DELETED: Final = " (deleted)"
_UNLINKED: Final = "//deleted"
_OCTAL = re.compile(r"\\([0-7]{3})")
_VERSION_BYTE: Final = rb"[A-Za-z0-9_+~-]|\.[A-Za-z0-9]"
_MOUNT_FIELDS = 5

UserKind = Literal["process", "mount", "claim", "pod", "container", "unreadable"]


class LibraryUser(Struct, frozen=True):
    """A user of a library file; `unreadable` is an unreadable source, which might name any file."""

    kind: UserKind
    name: str
    pid: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + ("" if self.pid is None else f" ({self.pid})")


class FileMarks(Struct, frozen=True):
    """What identifies a file: its path, inode, the kernel's spellings of its device, and its paths in mounts."""

    name: str
    path: str
    inode: int
    devices: Collection[str] = ()
    roots: Collection[str] = ()


class MappedFile(Struct, frozen=True):
    """One line of /proc/PID/maps that has a file behind it."""

    device: str
    inode: int
    path: str


def parse_maps(text: str) -> Iterator[MappedFile]:
    """The mapped files; a deleted one has its former path."""
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[4] != "0":  # noqa: PLR2004  # range, mode, offset, device, inode, path
            yield MappedFile(fields[3], int(fields[4]), _plain(fields[5].removesuffix(_DELETED)))


def parse_mount_roots(text: str) -> Iterator[tuple[str, str]]:
    """For each mount, its source path within the file system and its mount point; deleted sources by former name."""
    for line in text.splitlines():
        fields = line.split(" ", _MOUNT_FIELDS)
        if len(fields) > _MOUNT_FIELDS:
            yield _plain(fields[3]).removesuffix(_UNLINKED), _plain(fields[4])


def _plain(text: str) -> str:
    """The text without the kernel's octal escapes for blanks and special characters."""
    return _OCTAL.sub(lambda m: chr(int(m[1], 8)), text) if "\\" in text else text


def roots_of(path: str, mounts: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Every path that a file can have as the source of a mount, given the visible mounts above it."""
    found = set()
    for root, point in mounts:
        base = point.rstrip("/")
        if path.startswith(f"{base}/"):
            found.add(f"{root.rstrip('/')}{path[len(base) :]}")
    return frozenset(found)


def maps_file(mapping: MappedFile, file: FileMarks) -> bool:
    """True when the mapping is of the file, or of an earlier file with its name."""
    if mapping.path == file.path:
        return True
    known_place = mapping.device in file.devices or is_library(mapping.path)
    return mapping.inode == file.inode and known_place


def mounts_file(root: str, file: FileMarks) -> bool:
    """True when a mount with this source shows the file, or an earlier file with its name."""
    return root in file.roots


def mentions(data: bytes, name: str) -> bool:
    """True when the bytes contain the file's name, and not only as a prefix of a longer version."""
    raw = name.encode("utf-8", "surrogateescape")
    return re.search(re.escape(raw) + b"(?!" + _VERSION_BYTE + b")", data) is not None


class PodDevices(Struct, frozen=True):
    """One container's entry in kubelet's checkpoint: the bytes of the cached answer of the device plugin."""

    pod_uid: str
    container: str
    answer: bytes


def parse_checkpoint(data: bytes) -> tuple[PodDevices, ...]:
    """The entries of kubelet's device checkpoint; raises ValueError if any part of it is invalid."""
    try:
        document: Any = msgspec.json.decode(data)
        entries = document["Data"]["PodDeviceEntries"] or []
        return tuple(_pod_devices(entry) for entry in entries)
    except (msgspec.DecodeError, KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"not understood: {error}") from error


def _pod_devices(entry: Any) -> PodDevices:
    answer = base64.b64decode(entry["AllocResp"] or "", validate=True)
    return PodDevices(str(entry["PodUID"]), str(entry["ContainerName"]), answer)
