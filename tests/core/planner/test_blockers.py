# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import gpu, instance, profile_of

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.planner.blockers import can_return, subsets, without
from hamid.core.planner.offer import make_offer
from hamid.core.planner.templates import Template, TemplateSlot

EMPTY = gpu()
SMALL = instance(EMPTY, "1g.5gb", 0, used=True)
LARGE = instance(EMPTY, "2g.10gb", 2, used=True)
LAST = instance(EMPTY, "1g.5gb", 6, used=True)
IDLE = instance(EMPTY, "1g.5gb", 1)
GPU = replace(EMPTY, instances=(SMALL, IDLE, LARGE, LAST))


def test_sets_of_used_instances_come_small_and_light_first():
    """The number of instances counts first, then their memory; idle ones are in no set."""
    assert subsets(GPU) == [
        (SMALL,),
        (LAST,),
        (LARGE,),
        (SMALL, LAST),
        (SMALL, LARGE),
        (LARGE, LAST),
        (SMALL, LARGE, LAST),
    ]
    assert subsets(EMPTY) == []


def test_a_gpu_without_instances_is_without_idle_ones_too():
    """What remains are the other used instances."""
    assert without(GPU, [LARGE]).instances == (SMALL, LAST)
    assert without(GPU, []).instances == (SMALL, LARGE, LAST)


def offer(*seats, kept=(), template=None):
    """An offer of these seats on a GPU whose used instances are those that are kept."""
    found = replace(EMPTY, instances=tuple(kept))
    places = [Seat(profile_of(EMPTY, name), instance(EMPTY, name, start).placement) for name, start in seats]
    return make_offer(found, board_of(EMPTY.profiles), places, template)


TEMPLATE = Template(0, (TemplateSlot("3g.20gb", 1, 20480), TemplateSlot("1g.5gb", 2, 5120)))


@pytest.mark.parametrize(
    ("made", "moved", "can"),
    [
        (offer(("3g.20gb", 0)), [SMALL], True),
        (offer(("7g.40gb", 0)), [SMALL], False),
        (offer(("3g.20gb", 0)), [SMALL, LARGE], True),
        (offer(("3g.20gb", 0), ("3g.20gb", 4)), [SMALL], False),
        (offer(("3g.20gb", 0)), [replace(SMALL, profile="9g.9gb", profile_id=99)], False),
        (offer(("3g.20gb", 0), template=TEMPLATE), [SMALL, LAST], True),
        (offer(("3g.20gb", 0), template=TEMPLATE), [LARGE], False),
        (offer(("3g.20gb", 0), kept=[replace(SMALL, placement=LAST.placement)], template=TEMPLATE), [SMALL], True),
        (offer(("3g.20gb", 0), kept=[LAST], template=TEMPLATE), [SMALL, SMALL], False),
    ],
)
def test_whether_instances_could_move_on_their_gpu(made, moved, can):
    """They need places beside the offer, profiles that the driver still lists, and slots that the template has left."""
    assert can_return(made, moved) is can
