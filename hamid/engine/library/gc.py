# SPDX-License-Identifier: Apache-2.0
"""Remove from a library store what no container or process needs any more."""

import os
import stat
import time

from msgspec import Struct

from hamid.core.errors import LibraryRefused, UsageError
from hamid.core.library.gc import (
    KEEP,
    ContainerFolder,
    RemovalVerdict,
    judge_folder,
    judge_versions,
    pod_of,
    versions_of,
)
from hamid.core.library.manifest import Manifest, format_manifest
from hamid.core.library.plan import CONTAINERS, STORE, TEMPORARY
from hamid.engine.library.state import current_library, store_warnings
from hamid.engine.library.sync import destination, explained
from hamid.node.files.removal import remove_tree
from hamid.node.files.staging import Staging
from hamid.node.files.tree import REAL, Calls, write_all
from hamid.node.library.lock import WAIT_SECONDS
from hamid.node.library.store import MANIFEST, Store
from hamid.node.library.users import (
    UnreadableError,
    checkpoint,
    find_users,
    folder_users,
    folders_in_records,
    marks,
    pods_on_disk,
)
from hamid.node.paths import Paths


class Collection(Struct, frozen=True):
    """What a collection removed, or with `dry_run` would remove, and why the rest stays."""

    dest: str
    verdicts: tuple[RemovalVerdict, ...]
    dry_run: bool
    warnings: tuple[str, ...]


def collect(
    dest: str,
    paths: Paths,
    *,
    keep: int = KEEP,
    dry_run: bool = False,
    calls: Calls = REAL,
    wait: float = WAIT_SECONDS,
) -> Collection:
    """Remove versions that are not needed and directories of containers whose pod is gone.

    Raises LibraryRefused when the manifest cannot be read: a pin might be in it.
    """
    if keep < 0:
        raise UsageError(f"cannot keep {keep} versions", "give --keep 0 or more")
    where = destination(dest)
    with explained(where), Store(calls, where) as store:
        if store.tree is None:
            return Collection(where, (), dry_run, ())
        if not dry_run:
            store.take_lock(wait=wait)
        if store.manifest_broken:
            raise LibraryRefused("the manifest cannot be read, and might pin a version", "run hamictl lib sync first")
        libraries = store.libraries()
        users = find_users(marks(where, libraries.items()), paths)
        current = current_library(store, libraries)
        versions = versions_of(libraries, store.known, current=current, users=users)
        verdicts = (*judge_versions(versions, keep=keep), *map(judge_folder, _folders(store, paths)))
        if not dry_run:
            _remove(store, [verdict for verdict in verdicts if verdict.removed])
        return Collection(where, verdicts, dry_run, tuple(store_warnings(store)))


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
            return dict.fromkeys(names, "no kubelet on this node can tell whether its pod is gone")
        cached = {entry.pod_uid for entry in checkpoint(paths)}
        base = f"{store.dest}/{CONTAINERS}"
        used = folder_users([f"{base}/{name}" for name in names])
        kept = folders_in_records(names, paths)
    except UnreadableError as error:
        return dict.fromkeys(names, f"cannot be sure: {error}")
    for name in names:
        pod = pod_of(name)
        if not pod:
            kept[name] = "its name contains no pod uid"
        elif pod in pods or pod in cached:
            kept[name] = f"pod {pod} exists"
        elif f"{base}/{name}" in used:
            kept[name] = used[f"{base}/{name}"]
    return kept


def _remove(store: Store, verdicts: list[RemovalVerdict]) -> None:
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
