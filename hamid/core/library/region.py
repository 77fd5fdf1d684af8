# SPDX-License-Identifier: Apache-2.0
"""Reads the file that libvgpu's processes share in a container. The bytes are untrusted input.

Both layouts start with that of HAMi-core 1.x (magic 19920718, major 1); behind it our libvgpu has a block of its own
that says which slots its processes took (native/libvgpu/region/layout.h; region/attach.c asserts each offset).
While one library replaces the other, processes of both may have slots.
"""

import struct
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

MAGIC: Final = 19_920_718
DEVICES: Final = 16
SLOTS: Final = 1024
V1_SIZE: Final = 2_008_952
OWN_OFFSET: Final = 2_011_136
OWN_MAGIC: Final = int.from_bytes(b"HAMVPGU1", "little")
OWN_SIZE: Final = 16 + DEVICES * 8 + SLOTS * 32
WHOLE_SIZE: Final = OWN_OFFSET + OWN_SIZE
# No GPU has more memory; a larger figure is torn or forged.
_MOST_BYTES: Final = 1 << 50

_UUIDS: Final = 64
_UUID_SIZE: Final = 96
_LIMITS: Final = 1600
_SM_LIMITS: Final = 1728
_PROCESSES: Final = 1856
_PROCESS_SIZE: Final = 1960
_USED: Final = 8
_USED_SIZE: Final = 64
_FIGURES: Final = struct.Struct("<5Q")  # context, module, data, offset, total
_UTILIZATION: Final = 1160
_UTILIZATION_SIZE: Final = 48
_SM: Final = 16
_STATUS: Final = 1928
_COUNT: Final = 2_008_896
_LAST_KERNEL: Final = 2_008_912
_MOST_SECONDS: Final = 1 << 40
_OWNER_SIZE: Final = 32
_OWNER_PID: Final = 24


class Use(Struct, frozen=True):
    """The use of one device. `total_bytes` counts against the limit.

    Our libvgpu does not separate kinds of memory (all is `buffer_bytes`) and does not report cores.
    """

    total_bytes: int = 0
    context_bytes: int = 0
    module_bytes: int = 0
    buffer_bytes: int = 0
    sm_percent: int = 0

    def __add__(self, other: "Use") -> "Use":
        """The sum of both."""
        return Use(
            self.total_bytes + other.total_bytes,
            self.context_bytes + other.context_bytes,
            self.module_bytes + other.module_bytes,
            self.buffer_bytes + other.buffer_bytes,
            self.sm_percent + other.sm_percent,
        )


class ContainerUse(Struct, frozen=True, kw_only=True):
    """What a container uses of each of its devices, in its order.

    `tells_cores`: HAMi-core is in use, which alone reports core use; `last_kernel_at` is Unix time, 0 unknown.
    """

    devices: tuple[Use, ...]
    tells_cores: bool = False
    last_kernel_at: int = 0


class RegionProcess(Struct, frozen=True, kw_only=True):
    """A process with a slot; `pid` as it sees itself. `used` by device.

    `foreign`: a process of HAMi-core, so no lock on the slot shows whether it is alive.
    """

    slot: int
    pid: int
    used: tuple[Use, ...]
    foreign: bool = False

    @property
    def used_bytes(self) -> tuple[int, ...]:
        """The bytes that count against the limit, by device."""
        return tuple(each.total_bytes for each in self.used)


class Region(Struct, frozen=True, kw_only=True):
    """The content of a region; a limit of 0 means none.

    `ours`: it has the block of our libvgpu, with the limits in force. `doubtful` names impossible figures, which were
    left out.
    """

    ours: bool
    minor: int
    uuids: tuple[str, ...]
    limit_bytes: tuple[int, ...]
    sm_percent: tuple[int, ...]
    processes: tuple[RegionProcess, ...]
    last_kernel_at: int = 0
    doubtful: tuple[str, ...] = ()

    def used_bytes(self, device: int) -> int:
        """The bytes of a device that all processes use."""
        return sum(each.used_bytes[device] for each in self.processes)


class NoRegion(Struct, frozen=True):
    """Why the bytes are not a region, as text."""

    why: str


def decode(data: bytes) -> Region | NoRegion:
    """The region in a file's bytes; never raises."""
    if len(data) < V1_SIZE:
        return NoRegion(f"it has {len(data)} bytes, a region of HAMi-core 1.x has {V1_SIZE}")
    magic, major, minor = struct.unpack_from("<iII", data)
    if magic != MAGIC:
        return NoRegion("no process has created it yet" if magic == 0 else f"its magic is {magic}, not {MAGIC}")
    if major != 1:
        return NoRegion(f"its version is {major}.{minor}; versions 1.x can be read")
    ours = len(data) >= WHOLE_SIZE and _word(data, OWN_OFFSET) == OWN_MAGIC
    doubtful: list[str] = []
    limits = _words(data, OWN_OFFSET + 16 if ours else _LIMITS)
    return Region(
        ours=ours,
        minor=minor,
        uuids=tuple(_uuid(data, device) for device in range(DEVICES)),
        limit_bytes=tuple(_believed(each, f"limit of device {n}", doubtful) for n, each in enumerate(limits)),
        sm_percent=tuple(min(each, 100) for each in _words(data, _SM_LIMITS)),
        processes=tuple(_processes(data, doubtful, ours=ours)),
        last_kernel_at=min(_word(data, _LAST_KERNEL), _MOST_SECONDS),
        doubtful=tuple(doubtful),
    )


def _word(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8], "little")


def _words(data: bytes, offset: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{DEVICES}Q", data, offset)


def _uuid(data: bytes, device: int) -> str:
    start = _UUIDS + device * _UUID_SIZE
    text = data[start : start + _UUID_SIZE].split(b"\0", 1)[0]
    return text.decode("ascii", errors="replace") if text.isascii() and text.decode("ascii").isprintable() else ""


def _believed(value: int, what: str, doubtful: list[str]) -> int:
    if value <= _MOST_BYTES:
        return value
    doubtful.append(f"{what} is {value}")
    return 0


def _owner(data: bytes, slot: int) -> int | None:
    """The pid in our block's owner record of the slot."""
    base = OWN_OFFSET + 16 + DEVICES * 8 + slot * _OWNER_SIZE
    return _word(data, base + _OWNER_PID) if _word(data, base) != 0 else None


def _processes(data: bytes, doubtful: list[str], *, ours: bool) -> Iterator[RegionProcess]:
    (count,) = struct.unpack_from("<i", data, _COUNT)
    if not 0 <= count <= SLOTS:
        doubtful.append(f"the number of processes is {count}")
    for slot in range(max(0, min(count, SLOTS))):
        base = _PROCESSES + slot * _PROCESS_SIZE
        (pid,) = struct.unpack_from("<i", data, base)
        (status,) = struct.unpack_from("<i", data, base + _STATUS)
        owner = _owner(data, slot) if ours else None
        # A free slot: when a process ends, HAMi-core clears only the pid, ours clears the pid first.
        if status == 0 or (ours and pid == 0):
            continue
        used = tuple(_use(data, base, device, f"slot {slot}, device {device}", doubtful) for device in range(DEVICES))
        yield RegionProcess(slot=slot, pid=pid, used=used, foreign=owner != pid)


def _use(data: bytes, slot: int, device: int, what: str, doubtful: list[str]) -> Use:
    context, module, buffer, _, total = _FIGURES.unpack_from(data, slot + _USED + device * _USED_SIZE)
    figures = (("", total), (" context", context), (" module", module), (" buffer", buffer))
    total, context, module, buffer = (_believed(each, what + kind, doubtful) for kind, each in figures)
    sm = _word(data, slot + _UTILIZATION + device * _UTILIZATION_SIZE + _SM)
    return Use(total, context, module, buffer, min(sm, 100))
