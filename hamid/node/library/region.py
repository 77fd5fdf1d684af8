# SPDX-License-Identifier: Apache-2.0
"""Reads the regions that containers share with libvgpu. A container can put anything there."""

import os
import stat
import struct
from typing import Final

from hamid.core.library.region import WHOLE_SIZE, NoRegion, Region, decode

# Reading is not one step: what changed meanwhile is read once more, and then taken as it is.
_TRIES: Final = 3
_MOST_FILES: Final = 64
# The record lock of a slot lies there (native/libvgpu/region/file.c).
_LOCKS: Final = 1 << 40
_FLOCK: Final = "hhxxxxqqixxxx"


def read_region(path: str) -> Region | NoRegion:
    """The region in a file, without following links or waiting. It may name dead processes: `is_held` tells."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return NoRegion(f"it cannot be opened: {error.strerror}")
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return NoRegion("it is not a regular file")
        data = _steady(descriptor)
    except OSError as error:
        return NoRegion(f"it cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)
    return decode(data)


def _steady(descriptor: int) -> bytes:
    data = os.pread(descriptor, WHOLE_SIZE, 0)
    for _ in range(_TRIES):
        again = os.pread(descriptor, WHOLE_SIZE, 0)
        if again == data:
            break
        data = again
    return data


def is_held(path: str, slot: int) -> bool | None:
    """True when a process holds the slot's lock, False when none does; None when that cannot be asked.

    A process that closed its files holds none and may live all the same; one that is foreign never holds any.
    """
    import fcntl  # costs start-up, and most readers do not ask

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _LOCKS + slot, 1, 0)
        kind, *_ = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return bool(kind != fcntl.F_UNLCK)


def find_regions(folder: str) -> tuple[str, ...]:
    """The region files of a container's directory, as HAMi's monitor finds them: `*.cache`."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    return tuple(os.path.join(folder, name) for name in names if name.endswith(".cache"))[:_MOST_FILES]
