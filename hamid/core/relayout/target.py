# SPDX-License-Identifier: Apache-2.0
"""What a GPU is to become, and whether its board can hold that at all, whatever lies there now."""

from collections.abc import Sequence

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.hardware.board import Board, Occupancy
from hamid.core.hardware.geometry import LayoutItem, Seat, count_names, format_geometry, legal_names
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.profile import Profile
from hamid.core.planner.seating import best_seats


class GpuTarget(Struct, frozen=True, kw_only=True):
    """What one GPU is to become: `mig_enabled` None leaves the mode, `layout` None leaves the instances.

    A layout is whole: what it does not name shall not be there; () means no instance.
    """

    gpu_index: int
    mig_enabled: bool | None = None
    layout: tuple[LayoutItem, ...] | None = None


class Wanted(Struct, frozen=True):
    """A layout on one board: seats that are given, and profiles that may lie anywhere, equal ones together."""

    fixed: tuple[Seat, ...] = ()
    free: tuple[Profile, ...] = ()


def read_layout(gpu: Gpu, board: Board, items: Sequence[LayoutItem]) -> Wanted:
    """The layout on this GPU's board; raises UsageError that names GPU, profile and what would be legal."""
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
    # A long list of profiles is refused by its sums, before anybody searches.
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
    raise UsageError(f"{profile.name} cannot start at {start} on {gpu.title}", f"it can at {starts}")


def _occupied(gpu: Gpu, board: Board, seats: Sequence[Seat]) -> Occupancy:
    occupied = board.empty
    for number, seat in enumerate(seats):
        if not board.fits(occupied, seat):
            others = ", ".join(str(other) for other in seats[:number])
            raise UsageError(f"{seat} does not fit on {gpu.title} beside {others}", _alone(board))
        occupied = board.add(occupied, seat)
    return occupied


def _too_much(gpu: Gpu, board: Board, items: Sequence[LayoutItem]) -> UsageError:
    """The layout's sums beside the GPU's: one of them, the engines or the starts do not go together."""
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
    return f"each profile alone fits as often as this: {format_geometry(board.creatable(board.empty))}"
