# SPDX-License-Identifier: Apache-2.0
"""The processes of this machine, as far as GPU work concerns them."""

# Field 22 of /proc/PID/stat (proc(5)), counted from the state, which follows the name in brackets.
_START_TIME = 19


def started_at(pid: int) -> str:
    """When a process began, in the kernel's clock ticks since boot; with the pid that names one process of this boot.

    Empty for a process that is gone or that we cannot see.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # pathlib costs start-up
            fields = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    return fields[_START_TIME].decode() if len(fields) > _START_TIME else ""


def process_name(pid: int) -> str:
    """The command name of a process, or `unknown` when it is gone or in a pid namespace that we cannot see."""
    # psutil costs start-up, and most calls of hamictl meet no process.
    import psutil  # noqa: PLC0415

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "unknown"
