# SPDX-License-Identifier: Apache-2.0
"""Plans the steps that bring the installed libvgpu files (Install) to the content of the Bundle.

Invariant: equal files stay untouched, different files are replaced as a whole, and hamid never writes through a link
or into a file that another user can write to. Versions stay until they are collected (hamid.core.library.gc).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct

from hamid.core.errors import UnsafePath

LIBRARY: Final = "libvgpu.so"
PRELOAD: Final = "ld.so.preload"
STORE: Final = ".hami"
CONTAINERS: Final = "containers"
# The prefix of temporary files; under the store's lock, a file with this prefix is a leftover and is removed.
TEMPORARY: Final = ".hami-tmp."
READABLE: Final = 0o444
# The permission bits that a file or folder may keep: no other writers, no set-id bits.
KEPT_MODE: Final = 0o755

_DIGITS = re.compile(r"([0-9]+)")


class Digest(Struct, frozen=True):
    """A file's digests: `md5` decides whether it changed, `sha256` is in the manifest.

    For a file that hamid wrote, `md5` is empty until the file is first compared.
    """

    md5: str
    sha256: str

    def is_same(self, other: "Digest") -> bool:
        """True when both files have the same content."""
        if self.md5 and other.md5:
            return self.md5 == other.md5
        return self.sha256 == other.sha256


class SourceFile(Struct, frozen=True):
    """A file of the bundle; the digest is None until it is needed."""

    path: str
    size: int
    mode: int
    digest: Digest | None = None


class Bundle(Struct, frozen=True):
    """What to install: regular files and folders of `source`, and the paths of everything else."""

    source: str
    files: tuple[SourceFile, ...] = ()
    folders: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The newest version that the bundle carries; empty when it has an unversioned library or none."""
        versions = [version for file in self.files if (version := library_version(file.path))]
        return max(versions, key=version_order, default="")


class InstalledFile(Struct, frozen=True):
    """An entry at the destination; `trusted` when only root and hamid's user can write to it."""

    path: str
    kind: Literal["file", "link", "folder", "other"] = "file"
    size: int = 0
    mode: int = 0o644
    trusted: bool = True
    links: int = 1
    digest: Digest | None = None


class Install(Struct, frozen=True):
    """The destination: entries at the bundle's paths, folders, and the text of ld.so.preload if it can be trusted."""

    dest: str
    files: Mapping[str, InstalledFile]
    folders: Collection[str] = ()
    libraries: Collection[str] = ()
    preload: str | None = None


class StepReason(StrEnum):
    """Why a step is in the plan."""

    SAME = "same MD5"
    MANAGED = "managed file"
    PINNED = "pinned"
    IRREGULAR = "not a regular file"
    MISSING = "missing"
    DIFFERENT = "different"
    UNSAFE = "unsafe"


class Skip(Struct, frozen=True):
    """Nothing is done for this file of the bundle."""

    path: str
    why: StepReason


class MakeFolder(Struct, frozen=True):
    """Create a folder."""

    path: str


class WriteFile(Struct, frozen=True):
    """Replace a file as a whole by `origin`, from the bundle or (`installed`) from the destination."""

    path: str
    origin: str
    mode: int
    why: StepReason
    installed: bool = False


class SetFileMode(Struct, frozen=True):
    """Set the permissions of a file whose content is right."""

    path: str
    mode: int


class WritePreload(Struct, frozen=True):
    """Replace ld.so.preload as a whole."""

    line: str


LibraryStep = Skip | MakeFolder | WriteFile | SetFileMode | WritePreload


def library_version(path: str) -> str | None:
    """The version in a library's file name, empty for the unversioned name, None for another file."""
    name = path.rpartition("/")[2]
    if name == LIBRARY or name == LIBRARY + ".":
        return ""
    return name[len(LIBRARY) + 1 :] if name.startswith(LIBRARY + ".") else None


def is_library(path: str) -> bool:
    """True for a file that must be a library of ours: its name begins with libvgpu.so."""
    return path.rpartition("/")[2].startswith(LIBRARY)


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts v2.9 before v2.10, and a release after its own candidates."""
    parts = _DIGITS.split(version.removeprefix("v").replace("-", "~"))
    found = [(1, int(part), "") if part.isdigit() else (0 if part.startswith("~") else 2, 0, part) for part in parts]
    return (*(part for part in found if part[2] or part[0] == 1), (1, -1, ""))


def preload_line(dest: str) -> str:
    """The one line of ld.so.preload."""
    return f"{dest.rstrip('/')}/{LIBRARY}\n"


def installed_mode(path: str, mode: int) -> int:
    """The permissions of an installed file: the source's without other writers; libraries are readable by all."""
    return mode & KEPT_MODE | (READABLE if is_library(path) else 0)


def is_managed(path: str) -> bool:
    """True for paths that the store itself writes; a bundle cannot supply them."""
    return path == PRELOAD or path.partition("/")[0] == STORE or path.rpartition("/")[2].startswith(TEMPORARY)


def resolve_library(libraries: Collection[str], *, pinned: str, own: str) -> str | None:
    """The file that a container gets: the pinned version, else the daemon's own, else the unversioned; None if none."""
    wanted = [f"{LIBRARY}.{version}" for version in (pinned, own) if version]
    return next((name for name in (*wanted, LIBRARY) if name in libraries), None)


def needs_digests(file: SourceFile, installed: InstalledFile | None) -> bool:
    """True when only the content can tell whether the file must be written."""
    return installed is not None and installed.kind == "file" and installed.trusted and installed.size == file.size


def plan_sync(
    bundle: Bundle, install: Install, *, pinned: str = "", pinned_file: SourceFile | None = None
) -> tuple[LibraryStep, ...]:
    """The steps, folders first, then versions, other files, the unversioned library, and ld.so.preload last.

    With a pin the unversioned library follows the pinned version, from the bundle or, as `pinned_file`, from the
    destination. Raises UnsafePath when a directory is in the place of a file.
    """
    folders = sorted(path for path in bundle.folders if not is_managed(path) and path not in install.folders)
    files = sorted(bundle.files, key=lambda file: (file.path == LIBRARY, not is_library(file.path), file.path))
    return (
        *(MakeFolder(path) for path in folders),
        *(Skip(path, StepReason.IRREGULAR) for path in sorted(bundle.others)),
        *(step for file in files for step in _file_steps(file, install, pinned)),
        *(_pin_steps(bundle, install, f"{LIBRARY}.{pinned}", pinned_file) if pinned else ()),
        *_preload_steps(bundle, install),
    )


def _file_steps(file: SourceFile, install: Install, pinned: str) -> tuple[LibraryStep, ...]:
    if is_managed(file.path):
        return (Skip(file.path, StepReason.MANAGED),)
    if pinned and file.path == LIBRARY:
        return (Skip(file.path, StepReason.PINNED),)
    return place(file, install)


def _pin_steps(bundle: Bundle, install: Install, name: str, pinned_file: SourceFile | None) -> tuple[LibraryStep, ...]:
    """Steps that make the unversioned library the pinned version; none if that version is not available."""
    brought = next((file for file in bundle.files if file.path == name), None)
    file = brought or pinned_file
    if file is None:
        return ()
    wanted = SourceFile(LIBRARY, file.size, file.mode, file.digest)
    steps = place(wanted, install, origin=name, installed=brought is None)
    # In a sync the line about the source's own file already shows the pin.
    return tuple(step for step in steps if not (bundle.files and isinstance(step, Skip)))


def place(
    file: SourceFile, install: Install, *, origin: str | None = None, installed: bool = False
) -> tuple[LibraryStep, ...]:
    """The steps that make the destination hold this file at its path."""
    found = install.files.get(file.path)
    mode = installed_mode(file.path, file.mode)
    why = _difference(file, found, install.dest)
    if found is not None and why is None:
        kept = Skip(file.path, StepReason.SAME)
        return (kept,) if found.mode == mode else (kept, SetFileMode(file.path, mode))
    return (WriteFile(file.path, origin or file.path, mode, why or StepReason.MISSING, installed),)


def _difference(file: SourceFile, found: InstalledFile | None, dest: str) -> StepReason | None:
    if found is None:
        return StepReason.MISSING
    if found.kind == "folder":
        raise UnsafePath(f"'{dest}/{file.path}' is a directory, but it must be a file", "move it away")
    if found.kind != "file" or not found.trusted:
        return StepReason.UNSAFE
    if needs_digests(file, found) and file.digest and found.digest and found.digest.is_same(file.digest):
        # Do not set permissions on a file with another hard link: that link may belong to another user.
        return StepReason.UNSAFE if found.links > 1 and found.mode != installed_mode(file.path, file.mode) else None
    return StepReason.DIFFERENT


def _preload_steps(bundle: Bundle, install: Install) -> tuple[LibraryStep, ...]:
    line = preload_line(install.dest)
    if install.preload == line or not (bundle.files or install.libraries):
        return ()
    return (WritePreload(line),)


def changes(steps: Iterable[LibraryStep]) -> tuple[LibraryStep, ...]:
    """The steps that change something."""
    return tuple(step for step in steps if not isinstance(step, Skip))
