# SPDX-License-Identifier: Apache-2.0
"""Perform a sync's plan: everything is made ready and flushed, then published, then recorded, or nothing is."""

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from msgspec import Struct

from hamid.core.library.manifest import Manifest, encode_path, format_manifest, make_record
from hamid.core.library.plan import (
    PRELOAD,
    STORE,
    Digest,
    LibraryStep,
    MakeFolder,
    SetFileMode,
    Skip,
    StepReason,
    WriteFile,
    WritePreload,
    changes,
    installed_mode,
)
from hamid.node.files.staging import Staging
from hamid.node.files.tree import Calls, Tree, write_all
from hamid.node.library.stat_cache import SourceChangedError, copy, identity, open_unchanged, settle
from hamid.node.library.store import MANIFEST, Listing, Store

_MANIFEST = f"{STORE}/{MANIFEST}"
_READ_BY_ALL = 0o644


class LibraryChange(Struct, frozen=True):
    """What is to be performed, on files that were scanned and compared a moment ago."""

    steps: tuple[LibraryStep, ...]
    source: str
    listing: Listing
    digests: dict[str, Digest]
    version: str
    pinned: str
    rescan: Callable[[], Listing]


def perform(store: Store, source: Tree | None, work: LibraryChange) -> None:
    """Make it so; raises SourceChangedError, with everything as it was, when the source did not keep still."""
    if store.lock is None or store.tree is None:
        raise AssertionError("the store is locked")
    recorded = _manifest(store, work, work.digests)
    if not changes(work.steps) and recorded == store.manifest:
        store.save_cache()
        return
    if not store.lock.claim():
        raise SourceChangedError
    with Staging(store.tree) as staging:
        written = _stage_all(staging, store, source, work)
        if source is not None and _identities(work.rescan()) != _identities(work.listing):
            raise SourceChangedError
        recorded = _manifest(store, work, {**work.digests, **written})
        staging.write(_MANIFEST, _READ_BY_ALL, _filler(store.calls, format_manifest(recorded)))
        staging.publish()
    store.manifest = recorded
    # What is published stays, whether or not it can be looked at again.
    with contextlib.suppress(OSError):
        _remember(store, written)
    store.save_cache()


def _stage_all(staging: Staging, store: Store, source: Tree | None, work: LibraryChange) -> dict[str, Digest]:
    """Make every step ready; the digests of the files that were written, by path."""
    written: dict[str, Digest] = {}
    for step in work.steps:
        match step:
            case MakeFolder():
                staging.make_folder(step.path)
            case SetFileMode():
                staging.set_mode(step.path, step.mode)
            case WritePreload():
                line = step.line.encode("utf-8", "surrogateescape")
                staging.write(PRELOAD, _READ_BY_ALL, _filler(store.calls, line))
            case WriteFile():
                written[step.path] = _stage_file(staging, store, source, work, step)
            case Skip():
                pass
    return written


def _stage_file(staging: Staging, store: Store, source: Tree | None, work: LibraryChange, step: WriteFile) -> Digest:
    tree = store.tree if step.installed else source
    if tree is None:
        raise AssertionError("the plan names an origin")
    folder, name = tree.place(step.origin)
    status = folder.status(name) if step.installed else work.listing.files[step.origin]
    if status is None:
        raise SourceChangedError
    descriptor = open_unchanged(folder, name, status)
    try:
        settle(status)
        digest = staging.write(step.path, step.mode, partial(copy, store.calls, descriptor, status))
    finally:
        store.calls(os.close, descriptor)
    if not step.installed:
        store.cache.note(status, digest)
    return digest


def _filler(calls: Calls, data: bytes) -> Callable[[int], None]:
    return lambda descriptor: write_all(calls, descriptor, data)


def _identities(listing: Listing) -> dict[str, str]:
    return {path: identity(status) for path, status in listing.files.items()}


def _manifest(store: Store, work: LibraryChange, digests: dict[str, Digest]) -> Manifest:
    """The former manifest with an entry for every file that was written or found equal; equal entries stay."""
    files = dict(store.known.files)
    for step in work.steps:
        if not isinstance(step, WriteFile) and not (isinstance(step, Skip) and step.why is StepReason.SAME):
            continue
        origin = step.origin if isinstance(step, WriteFile) else step.path
        status = work.listing.files.get(origin) or store.status(origin)
        if status is None or step.path not in digests:
            continue
        mode = step.mode if isinstance(step, WriteFile) else installed_mode(step.path, status.st_mode)
        digest, key = digests[step.path], encode_path(step.path)
        former = files.get(key)
        if former is None or (former.sha256, former.mode) != (digest.sha256, mode):
            source, now = encode_path(work.source), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            files[key] = make_record(step.path, digest, size=status.st_size, mode=mode, source=source, now=now)
    return Manifest(version=work.version, pinned=work.pinned, files=files)


def _remember(store: Store, written: dict[str, Digest]) -> None:
    """Note what the new files hold, once no later write could look the same."""
    found = {path: status for path in written if (status := store.status(path)) is not None}
    if found:
        settle(max(found.values(), key=lambda status: status.st_ctime_ns))
    for path, status in found.items():
        store.cache.note(status, written[path])
