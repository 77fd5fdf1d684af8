# SPDX-License-Identifier: Apache-2.0
"""Decides which installed versions and per-container directories may be removed.

Invariants: a version stays while it is current, pinned, among the newest, in use, or possibly in use by something that
hamid cannot see. A container's directory is removed only when its pod is certainly gone.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from hamid.core.library.manifest import Manifest
from hamid.core.library.plan import LIBRARY, library_version, version_order
from hamid.core.library.users import LibraryUser

KEEP: Final = 2
# A directory younger than this may belong to a pod that kubelet has not recorded yet: the deadline of Allocate is
# 25 s, and absence must hold for 30 s.
GRACE_SECONDS: Final = 60.0


class LibraryVersion(Struct, frozen=True):
    """An installed version and what is known of it."""

    version: str
    name: str
    current: bool
    pinned: bool
    installed_at: str
    users: tuple[LibraryUser, ...] = ()


class ContainerFolder(Struct, frozen=True):
    """A per-container directory; `kept_for` says why it stays, empty when its pod is gone."""

    name: str
    pod_uid: str
    age_seconds: float
    kept_for: str = ""


class RemovalVerdict(Struct, frozen=True):
    """Whether one file or directory is removed, and why."""

    name: str
    kind: str
    removed: bool
    reason: str


def versions_of(
    names: Iterable[str], manifest: Manifest, *, current: str | None, users: Mapping[str, tuple[LibraryUser, ...]]
) -> tuple[LibraryVersion, ...]:
    """The installed versions, the current one first, then the newest: by time of installation, then by number."""
    found = [
        LibraryVersion(
            version=version,
            name=name,
            current=name == current,
            pinned=bool(manifest.pinned) and version == manifest.pinned,
            installed_at=record.installed_at if (record := manifest.record(name)) else "",
            users=users.get(name, ()),
        )
        for name in names
        if (version := library_version(name))
    ]
    found.sort(key=lambda v: (v.current, v.installed_at, version_order(v.version)), reverse=True)
    return tuple(found)


def judge_versions(versions: Iterable[LibraryVersion], *, keep: int) -> tuple[RemovalVerdict, ...]:
    """A verdict on each version, in the order of `versions_of`; the first `keep` and the current one stay."""
    return tuple(_judge(version, rank < keep) for rank, version in enumerate(versions))


def _judge(version: LibraryVersion, newest: bool) -> RemovalVerdict:  # noqa: FBT001  # private, named at its one call by position
    reasons = [
        "current" if version.current else "",
        "pinned" if version.pinned else "",
        ", ".join(map(str, version.users)),
        "one of the newest" if newest else "",
    ]
    reason = next(filter(None, reasons), "")
    return RemovalVerdict(version.name, "version", not reason, reason or "not in use")


def judge_folder(folder: ContainerFolder) -> RemovalVerdict:
    """The verdict on a per-container directory."""
    young = folder.age_seconds < GRACE_SECONDS
    reason = folder.kept_for or ("changed less than a minute ago" if young else "")
    return RemovalVerdict(folder.name, "container", not reason, reason or "its pod is gone")


def pod_of(folder: str) -> str:
    """The pod's uid in the name of a per-container directory, `<uid>_<container>`; empty for another name."""
    uid, separator, container = folder.partition("_")
    return uid if separator and uid and container else ""


def missing_hint(libraries: Iterable[str]) -> str:
    """What to do when no library is available for containers."""
    found = ", ".join(sorted(libraries))
    return (
        f"installed: {found}; choose one: hamictl lib rollback VERSION"
        if found
        else f"install {LIBRARY}: hamictl lib sync"
    )
