# SPDX-License-Identifier: Apache-2.0
"""The processes of this machine, as far as GPU work concerns them."""

import re

# Field 22 of /proc/PID/stat (proc(5)), counted from the state, which follows the name in brackets.
_START_TIME = 19
# Runtimes name a container's cgroup by its 64 digits, with or without words around; people use the first 12.
_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_UNIT = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.MULTILINE)
_SHORT_ID = 12


def started_at(pid: int) -> str:
    """When a process began, in the kernel's clock ticks since boot; with the pid that names one process of this boot.

    Empty for a process that is gone or that we cannot see.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    return fields[_START_TIME].decode() if len(fields) > _START_TIME else ""


def home_of(pid: int) -> str:
    """The container or systemd unit that a process belongs to, in words; empty where its cgroups tell neither."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return home_in(file.read())
    except OSError:
        return ""


def home_in(cgroups: str) -> str:
    """The same from the text of /proc/PID/cgroup, of either hierarchy (cgroups(7))."""
    if found := _CONTAINER.search(cgroups):
        return f"container {found[1][:_SHORT_ID]}"
    found = _UNIT.search(cgroups)
    return f"unit {found[1]}" if found else ""


def process_name(pid: int) -> str:
    """The command name of a process, or `unknown` when it is gone or in a pid namespace that we cannot see."""
    # psutil costs start-up, and most calls of hamictl meet no process.
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "unknown"
