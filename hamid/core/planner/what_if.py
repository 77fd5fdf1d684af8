# SPDX-License-Identifier: Apache-2.0
"""What-if: a snapshot with instances that are only assumed to exist and to be in use."""

from msgspec.structs import replace

from hamid.core.errors import UsageError
from hamid.core.hardware.board import Board, board_of
from hamid.core.hardware.geometry import LayoutItem, Seat, legal_names, parse_layout
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.hardware.snapshot import Snapshot, select_gpus
from hamid.core.planner.eligibility import no_mig
from hamid.core.planner.offer import seats_of


def assume_occupied(snapshot: Snapshot, text: str) -> Snapshot:
    """The snapshot with `[GPU=]2g.10gb@0,...` in use on that GPU (default 0) and its MIG mode on.

    Raises UsageError for what the GPU cannot hold beside its real instances.
    """
    selector, separator, layout = text.rpartition("=")
    (gpu,) = select_gpus(snapshot, (selector if separator else "0",))
    if no_mig(gpu) is not None:
        raise UsageError(f"{gpu.title} has no MIG, so '{text}' cannot be assumed on it")
    for item in parse_layout(layout):
        gpu = _occupied(gpu, item, text)
    gpu = replace(gpu, mig_enabled=True, mig_pending=True)
    gpus = tuple(gpu if each.index == gpu.index else each for each in snapshot.gpus)
    return replace(snapshot, gpus=gpus)


def _occupied(gpu: Gpu, item: LayoutItem, text: str) -> Gpu:
    board = board_of(gpu.profiles)
    placement = _placement(gpu, board, item, text)
    profile = board.named(item.profile)
    if profile is None or placement is None:
        raise UsageError(
            f"{gpu.title} has no profile '{item.profile}' (in '{text}')",
            f"it has {legal_names(board.profiles)}",
        )
    if not board.fits(board.occupy(seats_of(gpu, gpu.instances)), Seat(profile, placement)):
        here = ", ".join(f"{each.profile}@{each.placement.start}" for each in gpu.instances) or "nothing"
        raise UsageError(f"{item.profile}@{placement.start} does not fit on {gpu.title} beside {here} (in '{text}')")
    assumed = Instance(
        profile=profile.name,
        profile_id=profile.profile_id,
        memory_mib=profile.memory_mib,
        placement=placement,
        gi_id=-1,
        used=True,
    )
    return replace(gpu, instances=(*gpu.instances, assumed))


def _placement(gpu: Gpu, board: Board, item: LayoutItem, text: str) -> Placement | None:
    """The item's placement: at its own start, or the lowest free one; None for an unknown profile."""
    profile = board.named(item.profile)
    if profile is None:
        return None
    if item.start is None:
        free = board.free_placements(board.occupy(seats_of(gpu, gpu.instances)), profile)
        return free[0] if free else profile.placements[0]
    found = next((place for place in profile.placements if place.start == item.start), None)
    if found is None:
        starts = ", ".join(str(place.start) for place in profile.placements)
        raise UsageError(
            f"{item.profile} cannot start at {item.start} on {gpu.title} (in '{text}')", f"legal starts: {starts}"
        )
    return found
