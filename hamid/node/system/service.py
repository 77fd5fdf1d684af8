# SPDX-License-Identifier: Apache-2.0
"""Installs and removes hamid's files for systemd.

After a daemon-reload systemd applies the device rules of running containers again, by the links of /dev/char. A GPU's
node without its link is then cut off from every container (with runc's systemd cgroup driver), so the links are checked
before anything is written. Files that are not ours are never replaced or removed.
"""

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from msgspec import Struct

from hamid.core.errors import NodeError, UsageError
from hamid.node.files.replace import replace_file
from hamid.node.files.tree import explain
from hamid.node.paths import Paths, native_file

MARK: Final = b"# Installed by 'hamictl service install'; 'hamictl service uninstall' removes it.\n"
_UNIT: Final = "/etc/systemd/system/hamid.service"
_GROWING: Final = "/etc/systemd/system/hamid.service.d/10-growing-restart.conf"
_FILES: Final = {
    _UNIT: "hamid.service",
    _GROWING: "hamid.growing-restart.conf",
    "/etc/tmpfiles.d/hami.conf": "hami.tmpfiles.conf",
    "/etc/sysusers.d/hami.conf": "hami.sysusers.conf",
}
_GROWING_SINCE: Final = 254
_DEVICES: Final = ("/dev", "/dev/nvidia-caps")
_COMMAND_SECONDS: Final = 60
_PLAIN: Final = re.compile(r"/[\w./+@-]+", re.ASCII)


class FileAction(StrEnum):
    """What happens to a file."""

    WRITE = "write"
    KEEP = "keep"
    REMOVE = "remove"


class ServiceFile(Struct, frozen=True, kw_only=True):
    """A file, the action on it, and its new content."""

    path: str
    action: FileAction
    data: bytes = b""


class ServicePlan(Struct, frozen=True, kw_only=True):
    """Files first, then commands; `missing_links` are the links of /dev/char that forbid the commands."""

    files: tuple[ServiceFile, ...]
    before: tuple[tuple[str, ...], ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    missing_links: tuple[tuple[str, str], ...] = ()


def plan_install(paths: Paths, *, start: bool) -> ServicePlan:
    """Plan an installation. Raises UsageError for a file in the way or a program that is not found."""
    files = tuple(_wanted(paths, program()))
    commands: list[tuple[str, ...]] = []
    if _is_live(paths):
        commands = [
            ("systemd-sysusers", "/etc/sysusers.d/hami.conf"),
            ("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/hami.conf"),
            ("systemctl", "daemon-reload"),
            ("systemctl", "enable", *(["--now"] if start else []), "hamid.service"),
        ]
    return ServicePlan(files=files, commands=tuple(commands), missing_links=missing_links(paths))


def plan_uninstall(paths: Paths) -> ServicePlan:
    """Plan an uninstallation; state and configuration are kept."""
    there = tuple(_present(paths))
    live = _is_live(paths) and any(each.path == paths.under(_UNIT) for each in there)
    return ServicePlan(
        files=there,
        before=(("systemctl", "disable", "--now", "hamid.service"),) if live else (),
        commands=(("systemctl", "daemon-reload"),) if live else (),
        missing_links=missing_links(paths) if live else (),
    )


def carry_out(plan: ServicePlan) -> None:
    """Apply a plan. Raises HamiError; finished steps are kept, and running it again completes the rest."""
    for command in plan.before:
        _run(command)
    for file in plan.files:
        try:
            if file.action is FileAction.WRITE:
                _put(file.path, file.data)
            elif file.action is FileAction.REMOVE:
                _remove(file.path)
        except OSError as error:
            raise explain(error, file.path) from error
    for command in plan.commands:
        _run(command)


def missing_links(paths: Paths) -> tuple[tuple[str, str], ...]:
    """(node, link) of every NVIDIA device node that has no link in /dev/char."""
    found = []
    for node, number in _nodes(paths):
        link = f"/dev/char/{os.major(number)}:{os.minor(number)}"
        if not os.path.exists(paths.under(link)):
            found.append((node, link))
    return tuple(found)


def program() -> str:
    """The absolute path of the hamid that belongs to this hamictl. Raises UsageError."""
    beside = os.path.join(os.path.dirname(sys.executable), "hamid")
    found = beside if os.access(beside, os.X_OK) else shutil.which("hamid")
    if found is None:
        raise UsageError("no hamid is installed next to this hamictl", "reinstall the package hami-node")
    if not _PLAIN.fullmatch(found):
        raise UsageError(f"hamid's path {found!r} cannot be used in a unit file", "install it in a path without blanks")
    return found


def _nodes(paths: Paths) -> Iterator[tuple[str, int]]:
    for folder in _DEVICES:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(paths.under(folder)) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                status = entry.stat(follow_symlinks=False)
                if entry.name.startswith("nvidia") and stat.S_ISCHR(status.st_mode):
                    yield f"{folder}/{entry.name}", status.st_rdev


def _wanted(paths: Paths, hamid: str) -> Iterator[ServiceFile]:
    for path, name in _FILES.items():
        if path == _GROWING and _systemd_version() < _GROWING_SINCE:
            continue
        with open(native_file(f"systemd/{name}"), "rb") as file:
            data = MARK + file.read()
        data = data.replace(b"ExecStart=/usr/bin/env hamid", f"ExecStart={hamid}".encode())
        target = paths.under(path)
        found = _read(target)
        if found is not None and not found.startswith(MARK):
            raise UsageError(
                f"'{target}' exists and was not written by hamictl", "move the file away, or keep using it"
            )
        yield ServiceFile(path=target, action=FileAction.KEEP if found == data else FileAction.WRITE, data=data)


def _present(paths: Paths) -> Iterator[ServiceFile]:
    for path in _FILES:
        found = _read(paths.under(path))
        if found is not None and found.startswith(MARK):
            yield ServiceFile(path=paths.under(path), action=FileAction.REMOVE)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain(error, path) from error


def _put(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    replace_file(path, data)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    folder = os.path.dirname(path)
    if folder.endswith(".d") and "hamid.service" in folder:
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # fails, as it should, when there are drop-ins of others
    else:
        _sync(folder)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_live(paths: Paths) -> bool:
    """True when this root is the one that a running systemd manages (sd_booted(3))."""
    return paths.root == "/" and os.path.isdir("/run/systemd/system")


def _systemd_version() -> int:
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return 0
    try:
        said = subprocess.run([systemctl, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"systemd (\d+)", said.stdout)
    return int(found[1]) if found else 0


def _run(command: tuple[str, ...]) -> None:
    words = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"'{words}' could not be run: {error}", "run it by hand") from error
    if done.returncode:
        raise NodeError(
            f"'{words}' failed: {done.stderr.strip()[:300]}", "see: journalctl -xe; then run the command again"
        )
