# SPDX-License-Identifier: Apache-2.0
"""Finds the processes that hold device nodes open: a process that uses an instance has its capability nodes open."""

import os
import stat
from collections.abc import Collection, Iterator

from msgspec import Struct

from hamid.node.single_flight import SingleFlight

_NODES = "nvidia"


class _Held(Struct, frozen=True):
    """What one look at every process found: who has a device open, by its number, and who could not be looked into."""

    by_device: dict[int, tuple[str, str]]
    hidden: str | None


class DeviceHolders:
    """Looks through the descriptors of every process; a hundred questions at once are answered by one or two looks."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._flight = SingleFlight(self._look)

    def of(self, devices: Collection[int], *, strict: bool) -> str:
        """A text that names a process with one of these devices (by number) open; empty if there is none.

        With `strict` a process that cannot be looked into counts as holding them.
        """
        if not devices:
            return ""
        held = self._flight.result()
        for number in devices:
            if number in held.by_device:
                pid, node = held.by_device[number]
                return f"process {pid} has '{node}' open"
        if strict and held.hidden is not None:
            return f"process {held.hidden} cannot be inspected"
        return ""

    def _look(self) -> _Held:
        by_device: dict[int, tuple[str, str]] = {}
        hidden: str | None = None
        for pid in filter(str.isdigit, os.listdir(self._proc)):
            try:
                for number, node in _open_devices(f"{self._proc}/{pid}/fd"):
                    by_device.setdefault(number, (pid, node))
            except PermissionError:
                hidden = hidden or pid
        return _Held(by_device, hidden)


def _open_devices(folder: str) -> Iterator[tuple[int, str]]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError):
        return
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
            if _NODES not in target:
                continue
            status = os.stat(f"{folder}/{name}")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat.S_ISCHR(status.st_mode):
            yield status.st_rdev, target
