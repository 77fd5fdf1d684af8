# SPDX-License-Identifier: Apache-2.0
"""Geometries (profiles with counts) and layouts (profiles with placements) in text form.

geometry   2g.10gb*3 + 1g.5gb*1
layout     2g.10gb@0,2g.10gb@2,1g.5gb*2       a profile without `@start` may lie anywhere
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.hardware.profile import Placement, Profile

# No board has more instances than this; a larger count in an input is a mistake or an attack.
MAX_COUNT = 64
PROFILE_NAME = re.compile(r"[0-9]{1,2}g\.[0-9]{1,4}gb(?:[+-][a-z]+(?:\.[a-z]+)*)?", re.ASCII)
_ITEM = re.compile(
    rf"(?P<profile>{PROFILE_NAME.pattern})(?:@(?P<start>[0-9]{{1,3}})|\*(?P<count>[0-9]{{1,3}}))?", re.ASCII
)

_DIVIDED = re.compile(r"(?P<compute>[0-9]{1,2})c\.(?P<instance>(?P<slices>[0-9]{1,2})g\..*)", re.ASCII)


class LayoutItem(Struct, frozen=True):
    """One entry of a layout: a profile's name and its start, or None for any start."""

    profile: str
    start: int | None = None


class Seat(Struct, frozen=True):
    """A profile at a placement: where one instance lies or would lie."""

    profile: Profile
    placement: Placement

    @property
    def key(self) -> tuple[int, int]:
        """What identifies an instance among those alive on one GPU: profile id and start."""
        return (self.profile.profile_id, self.placement.start)

    def __str__(self) -> str:
        return f"{self.profile.name}@{self.placement.start}"


def format_geometry(geometry: Mapping[str, int]) -> str:
    """`2g.10gb*3 + 1g.5gb*1`, in the mapping's order; `nothing` when empty."""
    return " + ".join(f"{name}*{count}" for name, count in geometry.items() if count) or "nothing"


def parse_layout(text: str) -> tuple[LayoutItem, ...]:
    """`2g.10gb@0,1g.5gb*2` as items; raises UsageError that names the entry."""
    items: list[LayoutItem] = []
    for entry in text.split(","):
        written = entry.strip()
        whole = whole_profile(written)
        if whole is None:
            raise UsageError(*dividing(written))
        match = _ITEM.fullmatch(whole)
        if match is None:
            raise UsageError(
                f"'{entry.strip()}' in '{text}' is not a profile with a placement",
                "write for example 2g.10gb@0,1g.5gb*2: a profile, then @START or *COUNT",
            )
        count = int(match["count"] or 1)
        if not 1 <= count <= MAX_COUNT:
            raise UsageError(f"count {count} in '{entry.strip()}' is outside 1..{MAX_COUNT}")
        start = None if match["start"] is None else int(match["start"])
        items.extend([LayoutItem(match["profile"], start)] * count)
    return tuple(items)


def whole_profile(profile: str) -> str | None:
    """The instance's profile, or None where compute instances would divide it; `3c.3g.20gb` is all of `3g.20gb`."""
    match = _DIVIDED.fullmatch(profile)
    if match is None:
        return profile
    return match["instance"] if int(match["compute"]) == int(match["slices"]) else None


def dividing(profile: str) -> tuple[str, str]:
    """Why a profile that divides an instance is refused, and what to request instead."""
    message = f"{profile[:40]} shares a GPU instance between compute instances, which hamid does not create"
    return message, f"request {profile[:40].partition('c.')[2]} as a whole"


def count_names(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, in order of first occurrence."""
    return dict(Counter(names))


def legal_names(profiles: Iterable[Profile]) -> str:
    """The profile names for an error message."""
    return ", ".join(profile.name for profile in profiles) or "none"


def sum_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by name over several GPUs; names with nothing left stay, as 0."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
