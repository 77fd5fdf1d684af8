# SPDX-License-Identifier: Apache-2.0
"""Bring a library store up to date: scan, compare, check, then change everything together or nothing.

Between any two system calls the process may die or the disk may fail. Every file is then the old or the new one, and
the next sync completes the rest.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec
from msgspec import Struct

from hamid.core.errors import LibraryFailed, LibraryRefused, UsageError
from hamid.core.library.plan import (
    LIBRARY,
    Bundle,
    Digest,
    Install,
    InstalledFile,
    LibraryStep,
    SourceFile,
    changes,
    is_library,
    is_managed,
    library_version,
    needs_digests,
    plan_sync,
)
from hamid.engine.library.install import LibraryChange, perform
from hamid.node.files.tree import REAL, Calls, Folder, Tree, explain
from hamid.node.library.lock import WAIT_SECONDS
from hamid.node.library.stat_cache import SourceChangedError
from hamid.node.library.store import Listing, Store, installed_file, scan
from hamid.node.paths import native_file

_ATTEMPTS = 8
_PAUSE_SECONDS = 0.02


class SyncReport(Struct, frozen=True):
    """What a sync did, or with `dry_run` would do; `source` is empty for a rollback."""

    dest: str
    source: str
    steps: tuple[LibraryStep, ...]
    dry_run: bool
    version: str
    pinned: str
    warnings: tuple[str, ...] = ()
    empty: bool = False


def sync(
    dest: str,
    source: str | None = None,
    *,
    dry_run: bool = False,
    full: bool = False,
    calls: Calls = REAL,
    wait: float = WAIT_SECONDS,
) -> SyncReport:
    """Install what `source` holds (None: the libraries of our own build); what is equal stays untouched.

    Raises UsageError, UnsafePath, LibraryRefused, LibraryBusy, NotPermitted or LibraryFailed; in each case what was
    installed before still is.
    """
    path = os.path.abspath(source) if source else native_file("").rstrip("/")
    where = destination(dest)
    if source == "" or (source is not None and not os.path.isdir(path)):
        raise UsageError(f"'{source}' is not a directory", "name the directory with libvgpu.so with --source DIR")
    once = partial(_sync_once, where, path, calls=calls, own=source is None, dry_run=dry_run, full=full, wait=wait)
    return _until_quiet(once, path)


def rollback(
    dest: str, version: str, *, dry_run: bool = False, calls: Calls = REAL, wait: float = WAIT_SECONDS
) -> SyncReport:
    """Pin an installed version: containers get it, and the unversioned library becomes it. An empty one lifts the pin.

    Raises UsageError for a version that is not installed, LibraryRefused for one that is not what was installed.
    """
    where = destination(dest)

    def once() -> SyncReport:
        with explained(where), Store(calls, where) as store:
            return Sync(store, None, where, pin=version).run(dry_run=dry_run, wait=wait)

    return _until_quiet(once, where)


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn OSError into the error that says what it means for the operator."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def destination(dest: str) -> str:
    """The destination as an absolute path without links resolved; raises UsageError for an empty one."""
    if not dest:
        raise UsageError("--dest is empty", "name a directory with --dest DIR")
    return os.path.abspath(dest)


def _until_quiet(once: Callable[[], SyncReport], path: str) -> SyncReport:
    for attempt in range(_ATTEMPTS):
        try:
            return once()
        except SourceChangedError:
            time.sleep(_PAUSE_SECONDS * attempt)
    raise LibraryFailed(f"'{path}' keeps changing while it is read", "stop the program that writes it, then sync again")


def _sync_once(
    dest: str, source: str, *, calls: Calls, own: bool, dry_run: bool, full: bool, wait: float
) -> SyncReport:
    with explained(dest), Store(calls, dest, full=full) as store:
        if own and not os.path.isdir(source):
            return Sync(store, None, source).run(dry_run=dry_run, wait=wait)
        descriptor = calls(os.open, source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        tree = Tree(Folder(calls, descriptor, source), ours=False)
        try:
            if f"{dest}/".startswith(f"{source}/"):
                raise UsageError(f"'{dest}' lies in the source '{source}'", "sync into a directory outside of it")
            return Sync(store, tree, source, own=own).run(dry_run=dry_run, wait=wait)
        finally:
            tree.close()


class Sync:
    """One run over an open store and source; `tree` is None for a rollback, `pin` None to keep the pin in force."""

    def __init__(
        self, store: Store, tree: Tree | None, source: str, *, own: bool = False, pin: str | None = None
    ) -> None:
        self._store = store
        self._tree = tree
        self._source = source
        self._own = own
        self._pin = pin
        self._listing = Listing()
        self._digests: dict[str, Digest] = {}
        self._unlocked: OSError | None = None

    def run(self, *, dry_run: bool, wait: float) -> SyncReport:
        """Do it, or with `dry_run` find out what would be done; raises SourceChangedError to start again."""
        self._listing = self._scan()
        if not self._listing.files and self._pin is None and not self._store.libraries():
            return self._report((), dry_run=dry_run)
        if not dry_run and self._store.has_lock_file:
            self._take_lock(wait)
        self._check_libraries()
        if not dry_run and self._store.lock is None and self._unlocked is None:
            self._take_lock(wait)
        steps = self._plan()
        if not dry_run:
            self._perform(steps)
        return self._report(steps, dry_run=dry_run)

    @property
    def _pinned(self) -> str:
        return self._store.known.pinned if self._pin is None else self._pin

    def _scan(self) -> Listing:
        if self._tree is None:
            return Listing()
        found = scan(self._tree, deep=not self._own)
        if self._own:
            found.files = {path: status for path, status in found.files.items() if is_library(path)}
            found.others = []
        return found

    def _take_lock(self, wait: float) -> None:
        """A destination that cannot be written to may still need nothing."""
        try:
            self._store.take_lock(wait=wait)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM} or self._store.tree is None:
                raise
            self._unlocked = error

    def _check_libraries(self) -> None:
        """Raise LibraryRefused if any file of the source calls itself a library and is none."""
        if self._tree is None:
            return self._check_pinned()
        problems = []
        for path, status in self._listing.files.items():
            if is_library(path) and not is_managed(path):
                folder, name = self._tree.place(path)
                problem = self._store.cache.problem(folder, name, status)
                problems += [f"'{folder.join(name)}' is not a valid libvgpu: {problem}"] if problem else []
        if problems:
            raise LibraryRefused("; ".join(sorted(problems)), "nothing was installed; remove or rebuild the file")
        return None

    def _check_pinned(self) -> None:
        if not self._pin:
            return
        name = f"{LIBRARY}.{self._pin}"
        status = self._store.libraries().get(name)
        if status is None or self._store.tree is None:
            known = ", ".join(filter(None, map(library_version, self._store.libraries()))) or "none"
            raise UsageError(f"version '{self._pin}' is not installed", f"installed: {known}")
        root, record = self._store.tree.root, self._store.known.record(name)
        problem = self._store.cache.problem(root, name, status)
        if not problem and record is not None and record.sha256 != self._store.cache.digest(root, name, status).sha256:
            problem = "it is not what was installed"
        if problem:
            raise LibraryRefused(f"'{root.join(name)}' cannot be used: {problem}", "install that version again")

    def _plan(self) -> tuple[LibraryStep, ...]:
        bundle, files = self._compare()
        pinned_file = None
        if self._pinned:
            pinned_file = self._pinned_file(f"{LIBRARY}.{self._pinned}", files)
        install = Install(
            dest=self._store.dest,
            files=files,
            folders=[path for path in bundle.folders if self._store.folder_exists(path)],
            libraries=() if bundle.files else tuple(self._store.libraries()),
            preload=self._store.preload(),
        )
        return plan_sync(bundle, install, pinned=self._pinned, pinned_file=pinned_file)

    def _compare(self) -> tuple[Bundle, dict[str, InstalledFile]]:
        """The bundle, and what is at its paths; contents are read only where nothing else decides."""
        files: list[SourceFile] = []
        found: dict[str, InstalledFile] = {}
        for path, status in self._listing.files.items():
            file = SourceFile(path, status.st_size, status.st_mode & 0o7777)
            here = None if is_managed(path) else self._store.status(path)
            if here is not None:
                installed = installed_file(path, here)
                if needs_digests(file, installed):
                    self._digests[path] = self._digest(self._tree, path, status)
                    file = msgspec.structs.replace(file, digest=self._digests[path])
                    installed = msgspec.structs.replace(installed, digest=self._digest(self._store.tree, path, here))
                found[path] = installed
            files.append(file)
        bundle = Bundle(self._source, tuple(files), tuple(self._listing.folders), tuple(self._listing.others))
        return bundle, found

    def _pinned_file(self, name: str, files: dict[str, InstalledFile]) -> SourceFile | None:
        """The pinned version at the destination; the unversioned library beside it is read too."""
        status = self._store.libraries().get(name)
        here = self._store.status(LIBRARY)
        if here is not None:
            installed = installed_file(LIBRARY, here)
            if installed.kind == "file":
                digest = self._digest(self._store.tree, LIBRARY, here)
                installed = msgspec.structs.replace(installed, digest=digest)
            files[LIBRARY] = installed
        if status is None:
            return None
        digest = self._digests[LIBRARY] = self._digest(self._store.tree, name, status)
        return SourceFile(name, status.st_size, status.st_mode & 0o7777, digest)

    def _digest(self, tree: Tree | None, path: str, status: os.stat_result) -> Digest:
        if tree is None:
            raise AssertionError("a file was found in it")
        folder, name = tree.place(path)
        return self._store.cache.digest(folder, name, status)

    def _perform(self, steps: tuple[LibraryStep, ...]) -> None:
        if self._store.lock is None:
            if changes(steps) and self._unlocked is not None:
                raise self._unlocked
            return
        work = LibraryChange(
            steps=steps,
            source=self._source,
            listing=self._listing,
            digests=self._digests,
            version=self._version,
            pinned=self._pinned,
            rescan=self._scan,
        )
        perform(self._store, self._tree, work)

    @property
    def _version(self) -> str:
        """The daemon's own version: what the last bundle with a library brought."""
        files = tuple(SourceFile(path, 0, 0) for path in self._listing.files if is_library(path))
        return Bundle(self._source, files).version if files else self._store.known.version

    def _report(self, steps: tuple[LibraryStep, ...], *, dry_run: bool) -> SyncReport:
        warnings = list(self._store.warnings)
        if self._store.manifest_broken:
            warnings.append("the manifest could not be read and was rebuilt; a pin in it is lost")
        if self._pinned and not any(
            f"{LIBRARY}.{self._pinned}" in names for names in (self._listing.files, self._store.libraries())
        ):
            warnings.append(f"the pinned version '{self._pinned}' is not installed, so the pin has no effect")
        return SyncReport(
            dest=self._store.dest,
            source=self._source,
            steps=steps,
            dry_run=dry_run,
            version=self._version,
            pinned=self._pinned,
            warnings=tuple(warnings),
            empty=not self._listing.files and self._pin is None,
        )
