# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import gpu, instance, profile_of

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Placement
from hamid.core.planner.offer import idle_instances, make_offer, reclaimable, seats_of
from hamid.core.planner.request import make_request

GPU = gpu(("1g.5gb", 0), ("1g.5gb", 5))
BUSY = instance(GPU, "2g.10gb", 2, used=True)
GPU = replace(GPU, instances=(*GPU.instances, BUSY))


def seat(profile, start):
    found = profile_of(GPU, profile)
    return Seat(found, next(place for place in found.placements if place.start == start))


def test_an_offer_reuses_keeps_and_destroys():
    """An idle instance on a granted seat is reused, one in the way is destroyed, every other one stays."""
    board = board_of(GPU.profiles)
    offer = make_offer(GPU, board, [seat("1g.5gb", 0), seat("2g.10gb", 4)])
    first, second, _ = GPU.instances
    assert [(grant.instance, str(grant.seat)) for grant in offer.grants] == [(first, "1g.5gb@0"), (None, "2g.10gb@4")]
    assert (offer.destroyed, offer.kept) == ((second,), (BUSY,))
    assert (offer.created, offer.starts) == (1, [0, 4])
    assert offer.before == board.occupy(seats_of(GPU, GPU.instances))
    assert offer.after == board.occupy([*seats_of(GPU, [first, BUSY]), seat("2g.10gb", 4)])
    beside = make_offer(GPU, board, [seat("1g.5gb", 1)])
    assert (beside.destroyed, beside.kept) == ((), (BUSY, first, second))


def test_idle_instances_are_those_that_are_not_used():
    """A used instance is no part of what may give way."""
    assert idle_instances(GPU) == GPU.instances[:2]


@pytest.mark.parametrize(
    ("generation", "reclaim", "may"), [(1, False, True), (0, False, False), (0, True, True), (1, True, True)]
)
def test_an_idle_instance_of_others_gives_way_only_when_it_is_said(generation, reclaim, may):
    """Hamid's own instances always may be destroyed."""
    request = make_request(count=1, profile="1g.5gb", reclaim_idle=reclaim)
    assert reclaimable(instance(GPU, "1g.5gb", 0, generation=generation), request) is may


def test_an_instance_of_an_unlisted_profile_lies_where_it_lies():
    """It takes its place on the board and no other budget."""
    strange = replace(BUSY, profile="9g.9gb", profile_id=99)
    (found,) = seats_of(GPU, [strange])
    assert found.placement == Placement(2, 2)
    profile = found.profile
    assert (profile.name, profile.profile_id, profile.memory_mib) == ("9g.9gb", 99, strange.memory_mib)
    assert (profile.compute_slices, profile.multiprocessors, profile.max_instances) == (0, 0, 1)
