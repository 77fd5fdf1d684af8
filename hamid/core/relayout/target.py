# SPDX-License-Identifier: Apache-2.0
"""The target of a GPU, and whether its board can hold that target when empty."""

from collections.abc import Sequence

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.hardware.board import Board, Occupancy
from hamid.core.hardware.geometry import LayoutItem, Seat, count_names, format_geometry, legal_names
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.profile import Profile
from hamid.core.planner.seating import best_seats


class GpuTarget(Struct, frozen=True, kw_only=True):
    """The target of one GPU: `mig_enabled` None keeps the mode, `layout` None keeps the instances.

    A layout is complete: instances that it does not name are removed; () means no instances.
    """

    gpu_index: int
    mig_enabled: bool | None = None
    layout: tuple[LayoutItem, ...] | None = None


class Wanted(Struct, frozen=True):
    """A layout on one board: fixed seats, and profiles that may lie anywhere, equal profiles adjacent."""

    fixed: tuple[Seat, ...] = ()
    free: tuple[Profile, ...] = ()


def read_layout(gpu: Gpu, board: Board, items: Sequence[LayoutItem]) -> Wanted:
    """The layout on this GPU's board; raises UsageError with GPU, profile and the legal values."""
    fixed: list[Seat] = []
    free: list[Profile] = []
    for item in items:
        profile = _profile(gpu, board, item)
        if item.start is None:
            free.append(profile)
        else:
            fixed.append(_seat(gpu, profile, item.start))
    fixed.sort(key=lambda seat: (seat.placement, seat.profile.profile_id))
    free.sort(key=lambda profile: board.index[profile.profile_id])
    occupied = _occupied(gpu, board, fixed)
    # The sums reject a long list of profiles before any search.
    if best_seats(board, occupied, free, named=True) is None:
        raise _too_much(gpu, board, items)
    return Wanted(tuple(fixed), tuple(free))


def _profile(gpu: Gpu, board: Board, item: LayoutItem) -> Profile:
    profile = board.named(item.profile)
    if profile is None:
        raise UsageError(f"{gpu.title} has no profile '{item.profile}'", f"it has {legal_names(board.profiles)}")
    return profile


def _seat(gpu: Gpu, profile: Profile, start: int) -> Seat:
    for place in profile.placements:
        if place.start == start:
            return Seat(profile, place)
    starts = ", ".join(str(place.start) for place in profile.placements)
    raise UsageError(f"{profile.name} cannot start at {start} on {gpu.title}", f"legal starts: {starts}")


def _occupied(gpu: Gpu, board: Board, seats: Sequence[Seat]) -> Occupancy:
    occupied = board.empty
    for number, seat in enumerate(seats):
        if not board.fits(occupied, seat):
            others = ", ".join(str(other) for other in seats[:number])
            raise UsageError(f"{seat} does not fit on {gpu.title} beside {others}", _alone(board))
        occupied = board.add(occupied, seat)
    return occupied


def _too_much(gpu: Gpu, board: Board, items: Sequence[LayoutItem]) -> UsageError:
    """The error for a layout that does not fit, with its sums and the GPU's."""
    names = count_names(item.profile if item.start is None else f"{item.profile}@{item.start}" for item in items)
    profiles = [profile for item in items if (profile := board.named(item.profile)) is not None]
    slices = sum(profile.size for profile in profiles)
    compute = sum(profile.compute_slices for profile in profiles)
    return UsageError(
        f"{gpu.title} cannot hold {format_geometry(names)} together: that takes {slices} of {board.axis} memory slices "
        f"and {compute} of {board.compute_slices} compute slices",
        _alone(board),
    )


def _alone(board: Board) -> str:
    return f"maximum count of each profile alone: {format_geometry(board.creatable(board.empty))}"
