# SPDX-License-Identifier: Apache-2.0
"""What one GPU can offer a request: the values that both policies return, and how seats become an offer.

Instances in use are never touched. Idle ones are reused where they match; they are destroyed only if hamid made them
or the request reclaims.
"""

from collections.abc import Iterable

from msgspec import Struct

from hamid.core.hardware.board import Board, Occupancy
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Profile
from hamid.core.planner.plan import Consideration
from hamid.core.planner.reasons import Reason
from hamid.core.planner.request import Request
from hamid.core.planner.templates import Template


class Assignment(Struct, frozen=True):
    """A seat that the request gets; `instance` is the idle one that already lies there, or None to create it."""

    seat: Seat
    instance: Instance | None


class Offer(Struct, frozen=True, kw_only=True):
    """How one GPU would serve the request: instances granted, destroyed and kept; occupancy before and after."""

    gpu: Gpu
    template: Template | None
    grants: tuple[Assignment, ...]
    destroyed: tuple[Instance, ...]
    kept: tuple[Instance, ...]
    before: Occupancy
    after: Occupancy

    @property
    def created(self) -> int:
        """The number of instances to create."""
        return sum(grant.instance is None for grant in self.grants)

    @property
    def starts(self) -> list[int]:
        """Where the granted instances lie, in order."""
        return sorted(grant.seat.placement.start for grant in self.grants)


class Evaluation(Struct, frozen=True):
    """One GPU's offer or reason, and everything that was considered for it."""

    result: Offer | Reason
    considered: tuple[Consideration, ...]


def make_offer(gpu: Gpu, board: Board, seats: Iterable[Seat], template: Template | None = None) -> Offer:
    """The offer of exactly these seats, which fit beside the instances in use.

    Idle instances on a seat are reused, others stay where they can and are destroyed where they cannot.
    """
    idle = {(instance.profile_id, instance.placement.start): instance for instance in idle_instances(gpu)}
    grants = tuple(Assignment(seat, idle.pop(seat.key, None)) for seat in seats)
    used = gpu.used_instances
    occupied = board.occupy([*seats_of(gpu, used), *(grant.seat for grant in grants)])
    kept: list[Instance] = []
    destroyed: list[Instance] = []
    for instance, seat in zip(idle.values(), seats_of(gpu, idle.values()), strict=True):
        if board.fits(occupied, seat):
            occupied = board.add(occupied, seat)
            kept.append(instance)
        else:
            destroyed.append(instance)
    return Offer(
        gpu=gpu,
        template=template,
        grants=grants,
        destroyed=tuple(destroyed),
        kept=(*used, *kept),
        before=board.occupy(seats_of(gpu, gpu.instances)),
        after=occupied,
    )


def idle_instances(gpu: Gpu) -> tuple[Instance, ...]:
    """Instances that are not in use."""
    return tuple(instance for instance in gpu.instances if not instance.used)


def reclaimable(instance: Instance, request: Request) -> bool:
    """True when an idle instance may be destroyed for this request: hamid made it, or the request reclaims."""
    return request.reclaim_idle or instance.generation > 0


def seats_of(gpu: Gpu, instances: Iterable[Instance]) -> list[Seat]:
    """The seats of instances; one whose profile the driver no longer lists counts by its size alone."""
    known = {profile.profile_id: profile for profile in gpu.profiles}
    return [Seat(known.get(each.profile_id) or _bare_profile(each), each.placement) for each in instances]


def _bare_profile(instance: Instance) -> Profile:
    return Profile(
        name=instance.profile,
        profile_id=instance.profile_id,
        memory_mib=instance.memory_mib,
        compute_slices=0,
        multiprocessors=0,
        max_instances=1,
        placements=(instance.placement,),
    )
