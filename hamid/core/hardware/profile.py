# SPDX-License-Identifier: Apache-2.0
"""Profiles and placements: the kinds of GPU instances and where they may lie.

All numbers come from NVML (nvmlDeviceGetGpuInstanceProfileInfo, ...PossiblePlacements_v2); the same name may have
other ids, sizes and placements on another board or driver, so there is no table here.
"""

from msgspec import Struct


class Placement(Struct, frozen=True, order=True):
    """Memory slices `start` .. `start + size - 1` on a GPU's memory-slice axis (4, 8 or 12 units long)."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first slice behind this placement."""
        return self.start + self.size

    @property
    def mask(self) -> int:
        """The slices as bits, slice 0 the lowest."""
        return ((1 << self.size) - 1) << self.start

    def __str__(self) -> str:
        return f"{self.start}:{self.size}"


class Engines(Struct, frozen=True):
    """Counts of the media engines that an instance takes; they are budgets of the whole GPU."""

    decoders: int = 0
    encoders: int = 0
    jpeg: int = 0
    ofa: int = 0

    @property
    def packed(self) -> int:
        """All four counts in one number, 16 bits each, so that instances are summed by one addition."""
        return self.decoders | self.encoders << 16 | self.jpeg << 32 | self.ofa << 48


class Profile(Struct, frozen=True, kw_only=True):
    """A GPU-instance profile as NVML reports it for one GPU.

    `profile_id` is the id that creation takes (19, 14, ...), not the enum of the query. `compute_slices` and the
    sizes of `placements` are in slices, `memory_mib` in MiB.
    """

    name: str
    profile_id: int
    memory_mib: int
    compute_slices: int
    multiprocessors: int
    max_instances: int
    placements: tuple[Placement, ...]
    copy_engines: int = 0
    engines: Engines = Engines()

    @property
    def suffix(self) -> str:
        """`+me`, `+me.all`, `-me`, `+gfx` or nothing: the suffix of the name after the size."""
        for index, letter in enumerate(self.name):
            if letter in "+-":
                return self.name[index:]
        return ""

    @property
    def size(self) -> int:
        """Memory slices that an instance takes."""
        return self.placements[0].size

    @property
    def order(self) -> tuple[int, int, int]:
        """Smaller is a smaller instance: memory, then compute slices, then profile id."""
        return (self.memory_mib, self.compute_slices, self.profile_id)
