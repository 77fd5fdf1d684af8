# SPDX-License-Identifier: Apache-2.0
"""A library store on disk: the destination, its lock, manifest, stat-cache and files."""

import contextlib
import os
import stat
from collections.abc import Iterable
from functools import cached_property
from types import TracebackType
from typing import Final, Self

from hamid.core.library.manifest import Manifest, parse_manifest
from hamid.core.library.plan import CONTAINERS, PRELOAD, STORE, TEMPORARY, InstalledFile, is_library
from hamid.node.files.removal import remove_tree
from hamid.node.files.replace import replace_in
from hamid.node.files.tree import Calls, Folder, Tree, open_safely, trusted
from hamid.node.library.lock import WAIT_SECONDS, Lock
from hamid.node.library.stat_cache import CACHE, StatCache

MANIFEST: Final = "manifest.json"


class Listing:
    """What a scan found below a folder, by relative path: regular files, folders, and what is neither."""

    def __init__(self) -> None:
        self.files: dict[str, os.stat_result] = {}
        self.folders: list[str] = []
        self.others: list[str] = []


def scan(tree: Tree, *, skip: Iterable[str] = (), deep: bool = True) -> Listing:
    """Everything below the tree's root, links unfollowed; `skip` names entries of the root that are not looked at."""
    found, work = Listing(), [""]
    while work:
        above = work.pop()
        names = tree.folder(above).names()
        for name in names:
            path = f"{above}/{name}" if above else name
            status = None if path in skip else tree.folder(above).status(name)
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode):
                found.files[path] = status
            elif not stat.S_ISDIR(status.st_mode):
                found.others.append(path)
            elif deep:
                found.folders.append(path)
                work.append(path)
    return found


def installed_file(path: str, status: os.stat_result) -> InstalledFile:
    """What is at a path of the destination, without its content."""
    kinds = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "folder"}
    return InstalledFile(
        path,
        kind=kinds.get(stat.S_IFMT(status.st_mode), "other"),  # type: ignore[arg-type]
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        trusted=trusted(status),
        links=status.st_nlink,
    )


class Store:
    """The store at `dest`, which need not exist. Use as a context; `lock` before anything is changed."""

    def __init__(self, calls: Calls, dest: str, *, full: bool = False) -> None:
        self.calls = calls
        self.dest = dest
        self.tree: Tree | None = None
        self._way_warnings: tuple[str, ...] = ()
        self.lock: Lock | None = None
        self._full = full

    def __enter__(self) -> Self:
        self._open(create=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lock is not None:
            self.lock.release()
        if self.tree is not None:
            self.tree.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Who else can write on the way to the destination and in what was opened of it."""
        return (*self._way_warnings, *(self.tree.warnings if self.tree is not None else ()))

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest, None where there is none that can be read."""
        folder = self._store_folder()
        data = None if folder is None else folder.read(MANIFEST)
        return None if data is None else parse_manifest(data)

    @property
    def manifest_broken(self) -> bool:
        """True when there is something that is not a manifest."""
        return self.manifest is None and self.status(f"{STORE}/{MANIFEST}") is not None

    @cached_property
    def cache(self) -> StatCache:
        """What earlier runs saw; nothing with `full`."""
        folder = self._store_folder()
        found = StatCache(None if folder is None else folder.read(CACHE), machine=os.uname().machine)
        if self._full:
            found.forget()
        return found

    @property
    def known(self) -> Manifest:
        """The manifest, an empty one where there is none."""
        return self.manifest or Manifest()

    @property
    def has_lock_file(self) -> bool:
        """True when a sync has been here: locking then changes nothing."""
        folder = self._store_folder()
        return folder is not None and folder.status("lock") is not None

    def take_lock(self, *, wait: float = WAIT_SECONDS) -> None:
        """The store exists and is ours to change; what is known of it is read again."""
        self._open(create=True)
        tree = self._required()
        # A descriptor of its own, because the tree closes its folders when it likes.
        self.lock = Lock(self._lock_folder(tree), wait=wait)
        self.__dict__.pop("manifest", None)
        seen = self.__dict__.pop("cache", None)
        if seen is not None:
            self.cache.adopt(seen)
        self._sweep()

    def _lock_folder(self, tree: Tree) -> Folder:
        try:
            found = tree.folder(STORE)
        except FileNotFoundError:
            tree.root.make_folder(STORE)
            found = tree.folder(STORE)
        return Folder(self.calls, self.calls(os.dup, found.descriptor), found.path)

    def status(self, path: str) -> os.stat_result | None:
        """What is at a relative path; None for nothing. Raises UnsafePath for a link on the way."""
        if self.tree is None:
            return None
        try:
            folder, name = self.tree.place(path)
        except FileNotFoundError:
            return None
        return folder.status(name)

    def folder_exists(self, path: str) -> bool:
        """True when the folder is there. Raises UnsafePath when something else is."""
        try:
            return self.tree is not None and self.tree.folder(path) is not None
        except FileNotFoundError:
            return False

    def libraries(self) -> dict[str, os.stat_result]:
        """The libraries at the top of the destination that a container could get."""
        if self.tree is None:
            return {}
        names = [name for name in self.tree.root.names() if is_library(name)]
        found = {name: status for name in names if (status := self.tree.root.status(name)) is not None}
        return {name: s for name, s in found.items() if stat.S_ISREG(s.st_mode) and trusted(s)}

    def preload(self) -> str | None:
        """The text of ld.so.preload, None unless it is a sound file of ours."""
        data = None if self.tree is None else self.tree.root.read(PRELOAD)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def save_cache(self) -> None:
        """Write down what was seen. Not durable: losing the cache costs only time."""
        if self.lock is None or not self.cache.changed:
            return
        folder = self._required().folder(STORE)
        with contextlib.suppress(OSError):
            replace_in(folder, CACHE, self.cache.dump(), mode=0o600, durable=False)

    def _required(self) -> Tree:
        if self.tree is None:
            raise AssertionError("the destination is open")
        return self.tree

    def _open(self, *, create: bool) -> None:
        if self.tree is not None:
            return
        opened = open_safely(self.calls, self.dest, create=create)
        if opened is not None:
            self.tree = Tree(opened.folder, ours=True)
            self._way_warnings = opened.warnings

    def _store_folder(self) -> Folder | None:
        try:
            return self.tree.folder(STORE) if self.tree is not None else None
        except FileNotFoundError:
            return None

    def _sweep(self) -> None:
        """Remove what an interrupted run left; everywhere when one was surely interrupted, else where it is cheap."""
        tree = self._required()
        if self.lock is not None and self.lock.interrupted:
            self.lock.claim()
            deep = scan(tree, skip=(CONTAINERS, STORE))
            folders = ["", STORE, *deep.folders]
        else:
            folders = [""]
        for path in folders:
            for name in tree.folder(path).names():
                if name.startswith(TEMPORARY):
                    self._remove(tree.folder(path), name)

    def _remove(self, folder: Folder, name: str) -> None:
        status = folder.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            remove_tree(folder, name)
        else:
            folder.unlink(name)
