# SPDX-License-Identifier: Apache-2.0
"""Look after a library store: which file a container gets, who uses what, what has drifted, what may go."""

import os
import stat
import time
from collections.abc import Iterable

from msgspec import Struct

from hamid.core.errors import LibraryMissing, LibraryRefused, UsageError
from hamid.core.library.gc import (
    KEEP,
    ContainerFolder,
    Verdict,
    Version,
    judge_folder,
    judge_versions,
    missing_hint,
    pod_of,
    versions_of,
)
from hamid.core.library.manifest import Manifest, Record, format_manifest
from hamid.core.library.plan import (
    CONTAINERS,
    PRELOAD,
    STORE,
    TEMPORARY,
    is_library,
    preload_line,
    resolve_library,
)
from hamid.core.library.users import LibraryUser
from hamid.engine.library.sync import destination, telling
from hamid.node.files.removal import remove_tree
from hamid.node.files.staging import Staging
from hamid.node.files.tree import REAL, Calls, trusted, write_all
from hamid.node.library.lock import WAIT_SECONDS
from hamid.node.library.store import MANIFEST, Store
from hamid.node.library.users import (
    Unreadable,
    checkpoint,
    find_users,
    folder_users,
    folders_in_records,
    is_confined,
    marks,
    pods_on_disk,
)
from hamid.node.paths import Paths


class LibraryState(Struct, frozen=True):
    """What is installed: `current` is the file that a container gets, None when there is none."""

    dest: str
    current: str | None
    pinned: str
    versions: tuple[Version, ...]
    fallback_users: tuple[LibraryUser, ...]
    manifest: Manifest
    warnings: tuple[str, ...]


class Drift(Struct, frozen=True):
    """One way in which the store is not what was installed."""

    name: str
    code: str
    message: str


class Collection(Struct, frozen=True):
    """What a collection removed, or with `dry_run` would remove, and why the rest stays."""

    dest: str
    verdicts: tuple[Verdict, ...]
    dry_run: bool
    warnings: tuple[str, ...]


def container_library(dest: str) -> str:
    """The absolute path of the library that a container gets; raises LibraryMissing when there is none."""
    where = destination(dest)
    with telling(where), Store(REAL, where) as store:
        libraries = store.libraries()
        name = _current(store, libraries)
    if name is None:
        raise LibraryMissing(f"no libvgpu for containers in '{where}'", missing_hint(libraries))
    return f"{where}/{name}"


def _current(store: Store, libraries: Iterable[str]) -> str | None:
    known = store.known
    own = known.version if known.files else _package_version()
    return resolve_library(tuple(libraries), pinned=known.pinned, own=own)


def _package_version() -> str:
    """Our version, for a store that a script has filled; empty when we run uninstalled."""
    # Late, because reading the package's metadata costs more than the rest.
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version("hami-node")
    except metadata.PackageNotFoundError:
        return ""


def status(dest: str, paths: Paths) -> LibraryState:
    """What is installed and who uses it."""
    where = destination(dest)
    with telling(where), Store(REAL, where) as store:
        libraries = store.libraries()
        current = _current(store, libraries)
        users = find_users(marks(where, libraries.items()), paths) if libraries else {}
        return LibraryState(
            dest=where,
            current=current,
            pinned=store.known.pinned,
            versions=versions_of(libraries, store.known, current=current, users=users),
            fallback_users=users.get("libvgpu.so", ()),
            manifest=store.known,
            warnings=tuple(_warnings(store)),
        )


def _warnings(store: Store) -> list[str]:
    found = list(store.warnings)
    if store.manifest_broken:
        found.append("the manifest cannot be read; hamictl lib sync makes it anew")
    if is_confined():
        found.append("this is not the host's pid namespace: processes outside of it are not seen")
    return found


def verify(dest: str) -> tuple[Drift, ...]:
    """Every difference between what was installed and what lies there; every file is read in full."""
    where = destination(dest)
    with telling(where), Store(REAL, where, full=True) as store:
        if store.tree is None:
            return (Drift(where, "missing", "nothing is installed"),)
        if store.manifest is None:
            what = "cannot be read" if store.manifest_broken else "does not exist"
            return (Drift(f"{STORE}/{MANIFEST}", "manifest", f"the manifest {what}, so nothing can be compared"),)
        known = store.manifest
        found = [drift for path in known.paths if (drift := _file_drift(store, path, known))]
        return (*found, *_store_drift(store, known))


def _file_drift(store: Store, path: str, known: Manifest) -> Drift | None:
    record, here = known.record(path), store.status(path)
    if record is None or here is None:
        return Drift(path, "missing", "is gone")
    if not stat.S_ISREG(here.st_mode):
        return Drift(path, "kind", "is no regular file any more")
    if not trusted(here):
        return Drift(path, "owner", f"others can write to it (uid {here.st_uid}, mode {here.st_mode & 0o7777:04o})")
    return _content_drift(store, path, record, here)


def _content_drift(store: Store, path: str, record: Record, here: os.stat_result) -> Drift | None:
    if store.tree is None:
        raise AssertionError("the file was found in it")
    folder, name = store.tree.place(path)
    if here.st_size != record.size or store.cache.digest(folder, name, here).sha256 != record.sha256:
        return Drift(path, "content", f"is not what was installed (SHA-256 {record.sha256[:12]}..)")
    if here.st_mode & 0o7777 != record.mode:
        return Drift(path, "mode", f"has mode {here.st_mode & 0o7777:04o}, installed was {record.mode:04o}")
    return None


def _store_drift(store: Store, known: Manifest) -> list[Drift]:
    """What is wrong beside the recorded files."""
    found = []
    if store.preload() != preload_line(store.dest):
        found.append(Drift(PRELOAD, "preload", f"is not the one line '{preload_line(store.dest).strip()}'"))
    names = store.tree.root.names() if store.tree is not None else []
    for name in sorted(names):
        if is_library(name) and known.record(name) is None:
            found.append(Drift(name, "unknown", "was not installed by a sync"))
        if name.startswith(TEMPORARY):
            found.append(Drift(name, "left-over", "was left by an interrupted run"))
    if _current(store, store.libraries()) is None:
        found.append(Drift("libvgpu.so", "current", "no library is there that a container could get"))
    return found


def collect(
    dest: str,
    paths: Paths,
    *,
    keep: int = KEEP,
    dry_run: bool = False,
    calls: Calls = REAL,
    wait: float = WAIT_SECONDS,
) -> Collection:
    """Remove versions that nobody needs and directories of containers whose pod is gone.

    Raises LibraryRefused when the manifest cannot be read: a pin might be in it.
    """
    if keep < 0:
        raise UsageError(f"cannot keep {keep} versions", "give --keep 0 or more")
    where = destination(dest)
    with telling(where), Store(calls, where) as store:
        if store.tree is None:
            return Collection(where, (), dry_run, ())
        if not dry_run:
            store.take_lock(wait=wait)
        if store.manifest_broken:
            raise LibraryRefused("the manifest cannot be read, and might pin a version", "run hamictl lib sync first")
        libraries = store.libraries()
        users = find_users(marks(where, libraries.items()), paths)
        current = _current(store, libraries)
        versions = versions_of(libraries, store.known, current=current, users=users)
        verdicts = (*judge_versions(versions, keep=keep), *map(judge_folder, _folders(store, paths)))
        if not dry_run:
            _remove(store, [verdict for verdict in verdicts if verdict.removed])
        return Collection(where, verdicts, dry_run, tuple(_warnings(store)))


def _folders(store: Store, paths: Paths) -> list[ContainerFolder]:
    """The per-container directories, with what keeps each."""
    if store.tree is None or not store.folder_exists(CONTAINERS):
        return []
    above = store.tree.folder(CONTAINERS)
    found = {name: s for name in above.names() if (s := above.status(name)) is not None and stat.S_ISDIR(s.st_mode)}
    kept = _kept_folders(store, sorted(found), paths)
    now = time.time()
    return [ContainerFolder(name, pod_of(name), now - s.st_mtime, kept.get(name, "")) for name, s in found.items()]


def _kept_folders(store: Store, names: list[str], paths: Paths) -> dict[str, str]:
    """What keeps per-container directories; on any doubt all of them."""
    try:
        pods = pods_on_disk(paths)
        if pods is None:
            return dict.fromkeys(names, "there is no kubelet here that could tell whether its pod is gone")
        cached = {entry.pod_uid for entry in checkpoint(paths)}
        base = f"{store.dest}/{CONTAINERS}"
        used = folder_users([f"{base}/{name}" for name in names])
        kept = folders_in_records(names, paths)
    except Unreadable as error:
        return dict.fromkeys(names, f"cannot be sure: {error}")
    for name in names:
        pod = pod_of(name)
        if not pod:
            kept[name] = "its name tells no pod"
        elif pod in pods or pod in cached:
            kept[name] = f"pod {pod} exists"
        elif f"{base}/{name}" in used:
            kept[name] = used[f"{base}/{name}"]
    return kept


def _remove(store: Store, verdicts: list[Verdict]) -> None:
    if not verdicts or store.tree is None or store.lock is None:
        return
    store.lock.claim()
    _forget(store, [verdict.name for verdict in verdicts if verdict.kind == "version"])
    for verdict in verdicts:
        if verdict.kind == "version":
            store.tree.root.unlink(verdict.name)
        else:
            _remove_folder(store, verdict.name)
    store.tree.root.sync()


def _remove_folder(store: Store, name: str) -> None:
    """Out of sight in one step, then away."""
    if store.tree is None:
        return
    aside = TEMPORARY + os.urandom(8).hex()
    source, target = store.tree.folder(CONTAINERS), store.tree.folder(STORE)
    store.calls(os.rename, name, aside, src_dir_fd=source.descriptor, dst_dir_fd=target.descriptor)
    remove_tree(target, aside)


def _forget(store: Store, names: list[str]) -> None:
    """The manifest no longer names these files; written first: a crash leaves files for the next collection."""
    known = store.known
    files = {key: record for key, record in known.files.items() if key not in names}
    if store.tree is None or len(files) == len(known.files):
        return
    data = format_manifest(Manifest(version=known.version, pinned=known.pinned, files=files))
    with Staging(store.tree) as staging:
        staging.write(f"{STORE}/{MANIFEST}", 0o644, lambda target: write_all(store.calls, target, data))
        staging.publish()
