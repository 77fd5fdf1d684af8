# SPDX-License-Identifier: Apache-2.0
"""Who holds device nodes open: a process that uses an instance has its capability nodes among its descriptors."""

import os
import stat
from collections.abc import Collection

_NODES = "nvidia"


def holders(devices: Collection[int], *, proc: str = "/proc", strict: bool) -> str:
    """Who has one of these devices (by number) open, in words, or nothing.

    With `strict` a process that cannot be looked into counts as holding them.
    """
    if not devices:
        return ""
    for pid in filter(str.isdigit, os.listdir(proc)):  # noqa: PTH208  # as everywhere in this room
        try:
            held = _holds(f"{proc}/{pid}/fd", devices)
        except PermissionError:
            if strict:
                return f"process {pid} cannot be looked into"
            continue
        if held:
            return f"process {pid} has '{held}' open"
    return ""


def _holds(folder: str, devices: Collection[int]) -> str:
    try:
        names = os.listdir(folder)  # noqa: PTH208  # as above
    except (FileNotFoundError, ProcessLookupError):
        return ""
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")  # noqa: PTH115  # as everywhere in this room
            if _NODES not in target:
                continue
            status = os.stat(f"{folder}/{name}")  # noqa: PTH116  # as above
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat.S_ISCHR(status.st_mode) and status.st_rdev in devices:
            return target
    return ""
