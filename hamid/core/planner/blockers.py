# SPDX-License-Identifier: Apache-2.0
"""Finds the smallest set of used instances that blocks a request although memory is free.

If the request would fit with some instances moved on the same GPU, fragmentation blocks it; otherwise some instances
must end. The planner never moves or ends an instance; an operator may.
"""

from collections.abc import Sequence
from itertools import combinations

from msgspec.structs import replace

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import count_names
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Profile
from hamid.core.planner.offer import Offer, idle_instances, seats_of
from hamid.core.planner.templates import instance_counts


def without(gpu: Gpu, instances: Sequence[Instance]) -> Gpu:
    """The GPU without these instances and without idle ones."""
    gone = {instance.placement for instance in (*instances, *idle_instances(gpu))}
    return replace(gpu, instances=tuple(i for i in gpu.instances if i.placement not in gone))


def can_return(offer: Offer, instances: Sequence[Instance]) -> bool:
    """True when, after the offer, these instances could be created again somewhere on the same GPU.

    Under a template they must also be part of what the template has left.
    """
    board = board_of(offer.gpu.profiles)
    if offer.template is not None:
        taken = [grant.seat.profile.name for grant in offer.grants]
        left = instance_counts(offer.template, [*taken, *(i.profile for i in offer.gpu.used_instances)])
        if any(left.get(name, 0) < count for name, count in count_names(i.profile for i in instances).items()):
            return False
    profiles: list[Profile] = [seat.profile for seat in seats_of(offer.gpu, instances)]
    if any(profile.profile_id not in board.index for profile in profiles):
        return False
    return board.can_seat(offer.after, sorted(profiles, key=lambda p: (-p.size, p.profile_id)))


def subsets(gpu: Gpu) -> list[tuple[Instance, ...]]:
    """Sets of used instances, the smallest first; among equal sizes, the least memory first."""
    used = gpu.used_instances
    every = [group for number in range(1, len(used) + 1) for group in combinations(used, number)]
    return sorted(every, key=lambda group: (len(group), sum(instance.memory_mib for instance in group)))
