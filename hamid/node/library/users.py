# SPDX-License-Identifier: Apache-2.0
"""Looks for users of library files: processes and mounts in /proc, kubelet's checkpoint, container records, claims.

A source that exists and cannot be read is itself a user of every file.
"""

import contextlib
import errno
import glob
import mmap
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from hamid.core.library.users import (
    FileMarks,
    LibraryUser,
    PodDevices,
    maps_file,
    mentions,
    mounts_file,
    parse_checkpoint,
    parse_maps,
    parse_mount_roots,
    roots_of,
)
from hamid.node.paths import Paths

_CHECKPOINT: Final = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"
_PODS: Final = "/var/lib/kubelet/pods"
# Where runtimes write down containers that exist, running or not. The containerd database is searched as it is: it
# holds the containers' specifications as plain bytes.
_RECORDS: Final = (
    "/var/lib/docker/containers/*/config.v2.json",
    "/var/lib/docker/containers/*/hostconfig.json",
    "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "/var/lib/rancher/k3s/agent/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "/var/lib/rancher/rke2/agent/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "/run/containerd/io.containerd.runtime.v2.task/*/*/config.json",
    "/run/k3s/containerd/io.containerd.runtime.v2.task/*/*/config.json",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/*/*/config.json",
    "/var/lib/containers/storage/overlay-containers/*/userdata/config.json",
    "/run/containers/storage/overlay-containers/*/userdata/config.json",
)
_GONE = {errno.ENOENT, errno.ESRCH}
# proc's inode of the first pid namespace (PROC_PID_INIT_INO).
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
_CHUNK = 4 * 1024 * 1024
_OVERLAP = 4096


class UnreadableError(Exception):
    """A source exists and cannot be read; the text names it."""


def marks(dest: str, files: Iterable[tuple[str, os.stat_result]]) -> tuple[FileMarks, ...]:
    """By what each of these files of the destination is recognised in /proc."""
    try:
        mounts = list(parse_mount_roots(_read_text("/proc/self/mountinfo")))
    except OSError:
        mounts = [("/", "/")]
    return tuple(_marks(f"{dest}/{name}", name, status, mounts) for name, status in files)


def _marks(path: str, name: str, status: os.stat_result, mounts: list[tuple[str, str]]) -> FileMarks:
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    roots = {path, *roots_of(path, mounts)}
    return FileMarks(name, path, status.st_ino, {device, *_shown_devices(path)}, roots)


def _shown_devices(path: str) -> set[str]:
    """How the kernel spells the file's device in maps: on btrfs and overlay not as stat does, so map it and look."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return set()
    try:
        with mmap.mmap(descriptor, 1, prot=mmap.PROT_READ):
            return {m.device for m in parse_maps(_read_text("/proc/self/maps")) if m.path == path}
    except (OSError, ValueError):
        return set()
    finally:
        os.close(descriptor)


def find_users(
    files: Collection[FileMarks], paths: Paths, *, proc: str = "/proc"
) -> dict[str, tuple[LibraryUser, ...]]:
    """The users of each file, by its name."""
    found: dict[str, dict[LibraryUser, None]] = {file.name: {} for file in files}
    for name, user in (*_process_users(files, proc), *_record_users(files, paths), *blind_spots(paths)):
        for each in [name] if name else found:
            found[each][user] = None
    return {name: tuple(users) for name, users in found.items()}


def _process_users(files: Collection[FileMarks], proc: str) -> Iterator[tuple[str, LibraryUser]]:
    """Users among the living processes and their mounts; our own process is none."""
    for pid in _pids(proc):
        if pid == os.getpid():
            continue
        try:
            for name in _mapped(files, _maps_of(proc, pid)):
                yield name, LibraryUser("process", _command(proc, pid), pid)
            for name in _mounted(files, _read_of(proc, pid, "mountinfo")):
                yield name, LibraryUser("mount", _command(proc, pid), pid)
        except OSError as error:
            yield "", LibraryUser("unreadable", f"{error.filename}: {(error.strerror or '').lower()}", pid)


def _pids(proc: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdigit())


def _maps_of(proc: str, pid: int) -> str:
    """A process's maps. The machine's own init is no GPU job: where it is better protected than we are, it has none."""
    try:
        return _read_of(proc, pid, "maps")
    except PermissionError:
        if pid == 1 and os.geteuid() == 0 and not is_confined(proc):
            return ""
        raise


def _mapped(files: Collection[FileMarks], text: str) -> set[str]:
    if not any(file.name in text or f" {file.inode} " in text for file in files):
        return set()
    return {file.name for mapping in parse_maps(text) for file in files if maps_file(mapping, file)}


def _mounted(files: Collection[FileMarks], text: str) -> set[str]:
    return {file.name for root, _ in parse_mount_roots(text) for file in files if mounts_file(root, file)}


def _read_of(proc: str, pid: int, name: str) -> str:
    """A process's text, by any of its threads when the first has ended; empty when the process is gone."""
    text = _read_or_gone(f"{proc}/{pid}/{name}")
    if text:
        return text
    try:
        threads = os.listdir(f"{proc}/{pid}/task")
    except OSError:
        return ""
    return next(filter(None, (_read_or_gone(f"{proc}/{pid}/task/{thread}/{name}") for thread in threads)), "")


def _read_or_gone(path: str) -> str:
    try:
        return _read_text(path)
    except OSError as error:
        # EINVAL is what the mounts of a process give that waits, dead, for its parent.
        if error.errno in _GONE or (error.errno == errno.EINVAL and path.endswith("mountinfo")):
            return ""
        error.filename = path
        raise


def _command(proc: str, pid: int) -> str:
    try:
        return _read_text(f"{proc}/{pid}/comm").strip()
    except OSError:
        return "unknown"


def _read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _record_users(files: Collection[FileMarks], paths: Paths) -> Iterator[tuple[str, LibraryUser]]:
    """Users among pods, containers that may be stopped, and claims."""
    try:
        for entry in checkpoint(paths):
            user = LibraryUser("pod", f"{entry.pod_uid}/{entry.container}")
            yield from ((file.name, user) for file in files if mentions(entry.answer, file.name))
    except UnreadableError as error:
        yield "", LibraryUser("unreadable", str(error))
    yield from _container_users([file.name for file in files], paths)
    try:
        for name in claimed_libraries(paths):
            yield from ((file.name, LibraryUser("claim", name)) for file in files if mentions(name.encode(), file.name))
    except UnreadableError as error:
        yield "", LibraryUser("unreadable", str(error))


def _container_users(names: list[str], paths: Paths) -> Iterator[tuple[str, LibraryUser]]:
    """Which names the records of containers mention; an unreadable record mentions every name."""
    for pattern in _RECORDS:
        try:
            for path in _record_files(paths.under(pattern)):
                yield from ((name, LibraryUser("container", path)) for name in sorted(_named_in(path, names)))
        except OSError as error:
            if error.errno not in _GONE:
                yield "", LibraryUser("unreadable", f"{error.filename}: {(error.strerror or '').lower()}")


def _record_files(pattern: str) -> list[str]:
    """The files of a pattern; raises OSError when the directory that holds them cannot be listed."""
    base = pattern.partition("*")[0].rpartition("/")[0]
    os.listdir(base)  # glob would take a directory that we may not list for an empty one
    return sorted(glob.glob(pattern))


def _named_in(path: str, names: list[str]) -> set[str]:
    """Which names a file of any size mentions."""
    found: set[str] = set()
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        tail = b""
        while chunk := file.read(_CHUNK):
            data = tail + chunk
            found |= {name for name in names if name not in found and mentions(data, name)}
            tail = data[-_OVERLAP:]
    return found


def checkpoint(paths: Paths) -> tuple[PodDevices, ...]:
    """What kubelet has cached of the device plugins' answers; nothing without a kubelet. Raises UnreadableError."""
    path = paths.under(_CHECKPOINT)
    try:
        with open(path, "rb") as file:
            return parse_checkpoint(file.read())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UnreadableError(f"{path}: {(error.strerror or '').lower()}") from error
    except ValueError as error:
        raise UnreadableError(f"{path}: {error}") from error


def pods_on_disk(paths: Paths) -> frozenset[str] | None:
    """The uids of the pods that kubelet keeps directories of, None when there is no kubelet. Raises UnreadableError."""
    path = paths.under(_PODS)
    try:
        return frozenset(os.listdir(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableError(f"{path}: {(error.strerror or '').lower()}") from error


def claimed_libraries(paths: Paths) -> frozenset[str]:
    """The library paths that claims in the ledger name; raises UnreadableError for a ledger that cannot be trusted.

    Today's claims are MIG instances, which name no library. A claim of another kind must add its paths here.
    """
    try:
        os.stat(paths.ledger)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise UnreadableError(f"{paths.ledger}: {(error.strerror or '').lower()}") from error
    # Late, because sqlite costs start-up and most stores have no ledger beside them.
    from hamid.node.ledger.reader import read_facts

    facts = read_facts(paths)
    if not facts.trusted:
        raise UnreadableError(f"{paths.ledger}: {'; '.join(facts.warnings) or 'cannot be trusted'}")
    return frozenset()


def blind_spots(paths: Paths, *, proc: str = "/proc") -> list[tuple[str, LibraryUser]]:
    """Why processes may exist that we do not see, each a possible user of every file."""
    found = []
    if not os.path.isdir(f"{proc}/1"):
        found.append("/proc hides the processes of other users")
    if is_confined(proc) and paths.root == "/" and os.path.isdir(paths.under("/var/lib/kubelet")):
        found.append("processes outside this container are not seen (run it with hostPID)")
    return [("", LibraryUser("unreadable", text)) for text in found]


def is_confined(proc: str = "/proc") -> bool:
    """True in a container that has process ids of its own."""
    try:
        return os.readlink(f"{proc}/self/ns/pid") != _FIRST_PID_NAMESPACE
    except OSError:
        return True


def folder_users(folders: Collection[str], proc: str = "/proc") -> dict[str, str]:
    """Per-container directories (full paths) that a process maps files of or a mount shows, with who does.

    Raises UnreadableError when a process cannot be looked into.
    """
    found: dict[str, str] = {}
    mounts = list(parse_mount_roots(_read_text("/proc/self/mountinfo")))
    roots = {folder: {folder, *roots_of(folder, mounts)} for folder in folders}
    for pid in _pids(proc):
        try:
            mapped = {m.path for m in parse_maps(_maps_of(proc, pid))}
            mounted = {root for root, _ in parse_mount_roots(_read_of(proc, pid, "mountinfo"))}
        except OSError as error:
            raise UnreadableError(f"{error.filename}: {(error.strerror or '').lower()}") from error
        for folder in folders:
            if any(path == root or path.startswith(f"{root}/") for path in mapped | mounted for root in roots[folder]):
                found.setdefault(folder, f"process {_command(proc, pid)} ({pid})")
    return found


def folders_in_records(names: list[str], paths: Paths) -> dict[str, str]:
    """Per-container directories that records of containers mention, with the record. Raises UnreadableError."""
    found: dict[str, str] = {}
    for name, user in _container_users(names, paths):
        if not name:
            raise UnreadableError(user.name)
        found.setdefault(name, f"container {user.name}")
    return found
