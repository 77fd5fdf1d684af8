# SPDX-License-Identifier: Apache-2.0
"""What a library store holds: which file a container gets, and who uses what."""

from collections.abc import Iterable

from msgspec import Struct

from hamid.core.errors import LibraryMissing
from hamid.core.library.gc import LibraryVersion, missing_hint, versions_of
from hamid.core.library.manifest import Manifest
from hamid.core.library.plan import resolve_library
from hamid.core.library.users import LibraryUser
from hamid.engine.library.sync import destination, explained
from hamid.node.files.tree import REAL
from hamid.node.library.store import Store
from hamid.node.library.users import find_users, is_confined, marks
from hamid.node.paths import Paths


class LibraryState(Struct, frozen=True):
    """What is installed: `current` is the file that a container gets, None when there is none."""

    dest: str
    current: str | None
    pinned: str
    versions: tuple[LibraryVersion, ...]
    fallback_users: tuple[LibraryUser, ...]
    manifest: Manifest
    warnings: tuple[str, ...]


def container_library(dest: str) -> str:
    """The absolute path of the library that a container gets; raises LibraryMissing when there is none."""
    where = destination(dest)
    with explained(where), Store(REAL, where) as store:
        libraries = store.libraries()
        name = current_library(store, libraries)
    if name is None:
        raise LibraryMissing(f"no libvgpu for containers in '{where}'", missing_hint(libraries))
    return f"{where}/{name}"


def current_library(store: Store, libraries: Iterable[str]) -> str | None:
    """The name of the library that a container gets, None when none will do."""
    known = store.known
    own = known.version if known.files else _package_version()
    return resolve_library(tuple(libraries), pinned=known.pinned, own=own)


def _package_version() -> str:
    """Our version, for a store that a script has filled; empty when we run uninstalled."""
    # Late, because reading the package's metadata costs more than the rest.
    from importlib import metadata

    try:
        return metadata.version("hami-node")
    except metadata.PackageNotFoundError:
        return ""


def status(dest: str, paths: Paths) -> LibraryState:
    """What is installed and who uses it."""
    where = destination(dest)
    with explained(where), Store(REAL, where) as store:
        libraries = store.libraries()
        current = current_library(store, libraries)
        users = find_users(marks(where, libraries.items()), paths) if libraries else {}
        return LibraryState(
            dest=where,
            current=current,
            pinned=store.known.pinned,
            versions=versions_of(libraries, store.known, current=current, users=users),
            fallback_users=users.get("libvgpu.so", ()),
            manifest=store.known,
            warnings=tuple(store_warnings(store)),
        )


def store_warnings(store: Store) -> list[str]:
    """What an operator should know about the store and about what this process can see."""
    found = list(store.warnings)
    if store.manifest_broken:
        found.append("the manifest cannot be read; rebuild it with: hamictl lib sync")
    if is_confined():
        found.append("not in the host's pid namespace: processes outside this namespace are not seen")
    return found
