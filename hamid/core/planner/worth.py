# SPDX-License-Identifier: Apache-2.0
"""What the state of a GPU is worth to later requests: the value that the packed policy keeps as high as it can.

A window is a place where a later request could put an instance: a profile at one of its starts. It is worth its
profile's memory while it is free, and an eighth of that for every instance that must end before it is free. So large
free blocks are kept first, then those that are nearest to becoming large and free. How this was found, against what
it was measured and where it falls short: docs/decisions/0003-packed-placement.md.

Requests by memory get the smallest profile of a size, so only those profiles' windows count, until something shows
that others are asked as well (by name, or by cores): then every shape counts.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from hamid.core.hardware.board import Board, Occupancy
from hamid.core.hardware.profile import Profile

# A power of two keeps the sums exact, so that equal worth compares equal; the figures are flat from 1/20 to 1/3.
_NEARNESS = 1 / 8
# Few occupancies have more than a handful of layouts; a hostile board shall not make us list thousands.
_LAYOUTS = 64
# All states of today's boards fit in; bounded, because a node may live for years.
_REMEMBERED = 1 << 16


class _Windows(NamedTuple):
    """The windows of one profile, as bits, and what each is worth by the number of instances that must end first."""

    profile: Profile
    worth: tuple[float, ...]
    masks: tuple[int, ...]


@lru_cache(maxsize=_REMEMBERED)
def worth(board: Board, occupancy: Occupancy, every_shape: bool) -> float:  # noqa: FBT001  # a cache key
    """What the free and soon free places are worth, in MiB; higher is better for later requests.

    An occupancy can stand for several layouts; it is worth as much as the best of them.
    """
    windows = _windows(board, every_shape)
    blocked = [not board.has_budget(occupancy, each.profile) for each in windows]
    return max(_worth_of(windows, blocked, layout) for layout in _layouts(board, occupancy))


@lru_cache(maxsize=64)
def beyond_memory(board: Board) -> tuple[int, ...]:
    """The indices of the plain profiles that no request by memory gets, as 2g and 4g on an A100."""
    ordinary = _plain(board, every_shape=False)
    return tuple(board.index[p.profile_id] for p in _plain(board, every_shape=True) if p not in ordinary)


def _worth_of(windows: Sequence[_Windows], blocked: Sequence[bool], layout: Sequence[int]) -> float:
    total = 0.0
    for each, without_budget in zip(windows, blocked, strict=True):
        for mask in each.masks:
            in_the_way = 0
            for instance in layout:
                if instance & mask:
                    in_the_way += 1
            # Somebody must end before a spent budget has room again, even where no slice is taken.
            total += each.worth[in_the_way or without_budget]
    return total


@lru_cache(maxsize=128)
def _windows(board: Board, every_shape: bool) -> tuple[_Windows, ...]:  # noqa: FBT001  # a cache key
    return tuple(
        _Windows(profile, _worth_by_nearness(profile), _masks(profile))
        for profile in _plain(board, every_shape=every_shape)
    )


def _worth_by_nearness(profile: Profile) -> tuple[float, ...]:
    """No more instances can lie in a window than it has slices."""
    memory = profile.memory_mib or profile.size
    return tuple(memory * _NEARNESS**number for number in range(profile.size + 1))


def _plain(board: Board, *, every_shape: bool) -> list[Profile]:
    """One profile per size, or per size, compute slices and starts; without suffix where the board has such."""
    plain = [profile for profile in board.profiles if not profile.suffix] or list(board.profiles)
    first: dict[object, Profile] = {}
    for profile in plain:
        first.setdefault((profile.compute_slices, _masks(profile)) if every_shape else profile.size, profile)
    return list(first.values())


def _masks(profile: Profile) -> tuple[int, ...]:
    return tuple(place.mask for place in profile.placements)


@lru_cache(maxsize=64)
def _all_masks(board: Board) -> tuple[tuple[int, ...], ...]:
    return tuple(_masks(profile) for profile in board.profiles)


def _layouts(board: Board, occupancy: Occupancy) -> list[list[int]]:
    """The instances' places as bits, for every layout that looks like this; at least one."""
    counted: dict[tuple[int, ...], int] = {}
    for masks, count in zip(_all_masks(board), occupancy.counts, strict=True):
        if count:
            counted[masks] = counted.get(masks, 0) + count
    # Large ones first: they have the fewest places, which keeps the search narrow.
    shapes = sorted(counted.items(), key=lambda shape: (-shape[0][0], shape[0]))
    wanted = [masks for masks, count in shapes for _ in range(count)]
    found = list(islice(_cover(wanted, 0, occupancy.mask), _LAYOUTS))
    # What a driver reports may contradict its own profiles; then each block is taken as one instance.
    return found or [list(_blocks(occupancy.mask))]


def _cover(wanted: Sequence[tuple[int, ...]], lowest: int, left: int) -> Iterator[list[int]]:
    """Every way to lay `wanted` into the taken slices; equal ones in ascending order, so that each set comes once."""
    if not wanted:
        # What nobody's profile explains belongs to profiles that the driver no longer lists.
        yield list(_blocks(left))
        return
    masks = wanted[0]
    for number in range(lowest, len(masks)):
        if masks[number] & left == masks[number]:
            following = number + 1 if wanted[1:2] == [masks] else 0
            for rest in _cover(wanted[1:], following, left & ~masks[number]):
                yield [masks[number], *rest]


def _blocks(mask: int) -> Iterator[int]:
    """The maximal runs of set bits, lowest first."""
    while mask:
        lowest = mask & -mask
        block = mask & ~(mask + lowest)
        yield block
        mask &= ~block
