# SPDX-License-Identifier: Apache-2.0
"""Compare a library store with its manifest: every way in which it is not what was installed."""

import os
import stat

from msgspec import Struct

from hamid.core.library.manifest import Manifest, Record
from hamid.core.library.plan import PRELOAD, STORE, TEMPORARY, is_library, preload_line
from hamid.engine.library.state import current_library
from hamid.engine.library.sync import destination, explained
from hamid.node.files.tree import REAL, trusted
from hamid.node.library.store import MANIFEST, Store


class Drift(Struct, frozen=True):
    """One difference between the store and the manifest."""

    name: str
    code: str
    message: str


def verify(dest: str) -> tuple[Drift, ...]:
    """Every difference between what was installed and what lies there; every file is read in full."""
    where = destination(dest)
    with explained(where), Store(REAL, where, full=True) as store:
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
        return Drift(path, "missing", "is missing")
    if not stat.S_ISREG(here.st_mode):
        return Drift(path, "kind", "is not a regular file")
    if not trusted(here):
        return Drift(path, "owner", f"is writable by others (uid {here.st_uid}, mode {here.st_mode & 0o7777:04o})")
    return _content_drift(store, path, record, here)


def _content_drift(store: Store, path: str, record: Record, here: os.stat_result) -> Drift | None:
    if store.tree is None:
        raise AssertionError("the file was found in it")
    folder, name = store.tree.place(path)
    if here.st_size != record.size or store.cache.digest(folder, name, here).sha256 != record.sha256:
        return Drift(path, "content", f"differs from what was installed (SHA-256 {record.sha256[:12]}..)")
    if here.st_mode & 0o7777 != record.mode:
        return Drift(path, "mode", f"has mode {here.st_mode & 0o7777:04o}, installed was {record.mode:04o}")
    return None


def _store_drift(store: Store, known: Manifest) -> list[Drift]:
    """What is wrong beside the recorded files."""
    found = []
    if store.preload() != preload_line(store.dest):
        found.append(
            Drift(PRELOAD, "preload", f"does not consist of the one line '{preload_line(store.dest).strip()}'")
        )
    names = store.tree.root.names() if store.tree is not None else []
    for name in sorted(names):
        if is_library(name) and known.record(name) is None:
            found.append(Drift(name, "unknown", "was not installed by a sync"))
        if name.startswith(TEMPORARY):
            found.append(Drift(name, "left-over", "was left by an interrupted run"))
    if current_library(store, store.libraries()) is None:
        found.append(Drift("libvgpu.so", "current", "no library is installed for containers"))
    return found
