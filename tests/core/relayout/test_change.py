# SPDX-License-Identifier: Apache-2.0
import random
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import LayoutItem, Seat
from hamid.core.hardware.gpu import Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.plan import Action, CreateInstance, DestroyInstance, SetMigMode
from hamid.core.planner.seating import cost
from hamid.core.relayout.change import GpuTarget, differs, plan_change
from hamid.testing.boards import gpu_of, known_boards, profiles_of

ENGINES = ("decoders", "encoders", "jpeg", "ofa")
RANDOM_PAIRS = 2500
RANDOM_USED = 1500


def legal(profiles, seats):
    """The rules of a board, written independently of hamid.core.hardware.board."""
    axis = max(place.end for profile in profiles for place in profile.placements)
    whole = [profile for profile in profiles if profile.placements[0].size == axis]
    slices = [unit for seat in seats for unit in range(seat.placement.start, seat.placement.end)]
    counts = Counter(seat.profile.profile_id for seat in seats)
    return (
        len(slices) == len(set(slices))
        and sum(s.profile.compute_slices for s in seats) <= max(p.compute_slices * p.max_instances for p in profiles)
        and all(counts[profile.profile_id] <= profile.max_instances for profile in profiles)
        and all(
            sum(getattr(s.profile.engines, name) for s in seats) <= max(getattr(p.engines, name) for p in whole)
            for name in (ENGINES if whole else ())
        )
    )


@cache
def layouts(name):
    """Every legal layout of a board, by trying every subset of its seats that is still legal."""
    profiles = profiles_of(name)
    seats = [Seat(profile, place) for profile in profiles for place in profile.placements]
    found: list[tuple[Seat, ...]] = [()]
    for seat in seats:
        found += [(*layout, seat) for layout in found if legal(profiles, (*layout, seat))]
    return [frozenset(layout) for layout in found]


@cache
def by_geometry(name):
    """The layouts of a board by their profiles."""
    found: dict[frozenset[tuple[str, int]], list[frozenset[Seat]]] = {}
    for layout in layouts(name):
        found.setdefault(frozenset(Counter(seat.profile.name for seat in layout).items()), []).append(layout)
    return found


def matching(name, items):
    """Every layout that is this target: the same profiles, explicit starts where they are said."""
    geometry = frozenset(Counter(item.profile for item in items).items())
    said = {(item.profile, item.start) for item in items if item.start is not None}
    return [each for each in by_geometry(name)[geometry] if said <= {(s.profile.name, s.placement.start) for s in each}]


def instance_at(seat, *, used=False, compute_instances=1):
    return Instance(
        profile=seat.profile.name,
        profile_id=seat.profile.profile_id,
        memory_mib=seat.profile.memory_mib,
        placement=seat.placement,
        gi_id=seat.placement.start,
        compute_instances=compute_instances,
        mig_uuid=f"MIG-{seat}",
        used=used,
    )


def ordered(layout):
    return sorted(layout, key=str)


def node(name, layout, used=frozenset()):
    instances = tuple(instance_at(seat, used=seat in used) for seat in ordered(layout))
    return Snapshot(gpus=(gpu_of(name, instances=instances),))


def items_of(layout, keep_start):
    return tuple(LayoutItem(s.profile.name, s.placement.start if keep_start(s) else None) for s in ordered(layout))


def plan(snapshot, items):
    return plan_change(snapshot, [GpuTarget(gpu_index=0, layout=tuple(items))])


def seats_of(name, gpu):
    known = {profile.profile_id: profile for profile in profiles_of(name)}
    return {Seat(known[instance.profile_id], instance.placement) for instance in gpu.instances}


def replay(name, gpu, steps):
    """The instances after the steps; every state between must be legal and nothing used may go."""
    profiles = profiles_of(name)
    known = {profile.profile_id: profile for profile in profiles}
    there = {(i.profile_id, i.placement): i for i in gpu.instances}
    mode = gpu.mig_enabled
    for step in steps:
        assert step.gpu_uuid == gpu.uuid
        match step:
            case SetMigMode():
                assert step.enabled is not mode
                assert not there
                mode = step.enabled
            case DestroyInstance():
                gone = there.pop((step.profile_id, step.placement))
                assert not gone.used
                assert gone.compute_instances <= 1
            case CreateInstance():
                seat = Seat(known[step.profile_id], step.placement)
                there[step.profile_id, step.placement] = instance_at(seat)
                assert mode
                assert legal(profiles, [Seat(known[i.profile_id], i.placement) for i in there.values()])
    return replace(gpu, instances=tuple(there.values()), mig_enabled=mode, mig_pending=mode)


def check_minimal(name, layout, items):
    """Destroyed and created are the least that any layout of the target allows; the result is such a layout."""
    change = plan(node(name, layout), items)
    legal_ends = matching(name, items)
    assert change.destroyed == min(len(layout - end) for end in legal_ends)
    assert change.created == min(len(end - layout) for end in legal_ends)
    assert not change.blocked
    assert frozenset(seats_of(name, replay(name, change.gpus[0].gpu, change.steps))) in legal_ends


def test_every_pair_of_layouts_of_an_a30_changes_least():
    """From all 76 layouts to all 76, placed exactly and placed freely, beside an exhaustive search."""
    for layout in layouts("A30-24GB"):
        for geometry in by_geometry("A30-24GB").values():
            check_minimal("A30-24GB", layout, items_of(geometry[0], lambda seat: False))
        for target in layouts("A30-24GB"):
            check_minimal("A30-24GB", layout, items_of(target, lambda seat: True))


@pytest.mark.parametrize("name", ["A100-40GB", "RTX-PRO-6000-Blackwell-96GB"])
def test_random_pairs_of_layouts_change_least(name):
    """Random pairs, each target item placed or free at random, beside an exhaustive search."""
    chance = random.Random(5)
    for _ in range(RANDOM_PAIRS if name.startswith("A100") else RANDOM_PAIRS // 5):
        layout, target = chance.choice(layouts(name)), chance.choice(layouts(name))
        share = chance.choice([0.0, 0.3, 1.0])
        check_minimal(name, layout, items_of(target, lambda seat, share=share: chance.random() < share))


def matched(layout, items):
    """The most of the target that a layout holds: how many instances, and their memory."""
    said = {(item.profile, item.start) for item in items if item.start is not None}
    free = Counter(item.profile for item in items if item.start is None)
    count = memory = 0
    for seat in ordered(layout):
        name = seat.profile.name
        if (name, seat.placement.start) in said or free[name] > 0:
            free[name] -= (name, seat.placement.start) not in said
            count, memory = count + 1, memory + seat.profile.memory_mib
    return count, memory


def check_used(name, layout, used, items):
    change = plan(node(name, layout, used), items)
    ends = matching(name, items)
    allowed = [end for end in ends if used <= end]
    (gpu,) = change.gpus
    assert change.blocked == (not allowed)
    assert len(gpu.blocked) == len(used) - max(len(used & end) for end in ends)
    assert all(block.instance.used and block.why for block in gpu.blocked)
    assert frozenset(s for s in used if instance_at(s, used=True) in gpu.gpu.instances) == used
    if allowed:
        assert change.destroyed == min(len(layout - end) for end in allowed)
        assert change.created == min(len(end - layout) for end in allowed)
    else:
        assert change.steps == ()
        assert {i.action for i in gpu.instances} <= {Action.KEEP}
    after = replay(name, gpu.gpu, change.steps)
    assert used <= seats_of(name, after)
    return change


def check_reachable(name, used, items, change):
    """As much of the target as any layout beside the used instances holds, by count and then by memory."""
    reachable = change.gpus[0].reachable
    by_place = {(s.profile.name, s.placement.start): s for layout in layouts(name) for s in layout}
    seats = frozenset(by_place[item.profile, item.start] for item in reachable)
    assert matched(seats, items)[0] == len(seats)
    assert legal(profiles_of(name), seats | used)
    assert matched(seats, items) == max(matched(end, items) for end in layouts(name) if used <= end)


@pytest.mark.parametrize("name", ["A100-40GB", "A30-24GB"])
def test_used_instances_are_never_touched(name):
    """Random used instances stay; those no end state contains are blocked, without a step; what is left is maximal."""
    chance = random.Random(6)
    blocked = 0
    for number in range(RANDOM_USED):
        layout, target = chance.choice(layouts(name)), chance.choice(layouts(name))
        used = frozenset(seat for seat in ordered(layout) if chance.random() < chance.choice([0.2, 0.6]))
        items = items_of(target, lambda seat: chance.random() < chance.choice([0.0, 0.5]))
        change = check_used(name, layout, used, items)
        blocked += change.blocked
        if number % 4 == 0:
            check_reachable(name, used, items, change)
    assert RANDOM_USED / 5 < blocked < RANDOM_USED * 4 / 5


def test_equal_costs_keep_the_most_later_choices():
    """Among all end states of least change, the one chosen costs later requests least."""
    name, chance = "A100-40GB", random.Random(7)
    board = board_of(profiles_of(name))

    def loss(layout):
        return cost(board, board.empty, board.occupy(layout), named=True)

    for _ in range(300):
        layout, target = chance.choice(layouts(name)), chance.choice(layouts(name))
        items = items_of(target, lambda seat: False)
        change = plan(node(name, layout), items)
        end = frozenset(seats_of(name, replay(name, change.gpus[0].gpu, change.steps)))
        ends = matching(name, items)
        least = min(len(layout - each) for each in ends)
        assert loss(end) == min(loss(each) for each in ends if len(layout - each) == least)


@st.composite
def changes(draw):
    """A board, a GPU with instances in every state, and a target that the board can hold."""
    name = draw(st.sampled_from(known_boards()))
    present = draw(st.sampled_from(layouts(name)))
    target = draw(st.sampled_from(layouts(name)))
    states = st.sampled_from([(False, 1), (False, 1), (True, 1), (True, 0), (False, 0), (False, 3)])
    instances = []
    for seat in ordered(present):
        used, compute_instances = draw(states)
        instances.append(instance_at(seat, used=used, compute_instances=compute_instances))
    items = [LayoutItem(s.profile.name, draw(st.sampled_from([None, s.placement.start]))) for s in ordered(target)]
    return name, gpu_of(name, instances=tuple(instances)), draw(st.permutations(items))


@settings(max_examples=400)  # for every board some dozens
@given(changes())
def test_on_every_board_each_state_is_legal_and_a_reached_target_needs_nothing(case):
    """Replaying the steps passes legal states alone; planned again, by items or by places, nothing is left to do."""
    name, gpu, items = case
    change = plan(Snapshot(gpus=(gpu,)), items)
    after = replay(name, gpu, change.steps)
    unalterable = [i for i in gpu.instances if i.used or i.compute_instances > 1]
    assert all(instance in after.instances for instance in unalterable)
    if change.blocked:
        assert change.empty
        assert differs(change)
        return
    assert len(change.gpus[0].reachable) == len(items)
    for again in (items, change.gpus[0].reachable):
        satisfied = plan(Snapshot(gpus=(after,)), again)
        assert satisfied.empty
        assert not differs(satisfied)
        assert satisfied.kept == len(items)


@given(changes(), st.randoms(use_true_random=False))
def test_the_order_of_instances_and_items_does_not_matter(case, chance):
    """Equal questions get equal answers, however they are written."""
    _, gpu, items = case
    mixed = replace(gpu, instances=tuple(chance.sample(gpu.instances, len(gpu.instances))))
    first = plan(Snapshot(gpus=(gpu,)), items)
    second = plan(Snapshot(gpus=(mixed,)), chance.sample(items, len(items)))
    assert (first.steps, first.fingerprint) == (second.steps, second.fingerprint)
    assert first.gpus[0].instances == second.gpus[0].instances
    assert first.gpus[0].reachable == second.gpus[0].reachable
    assert [block.instance for block in first.gpus[0].blocked] == [block.instance for block in second.gpus[0].blocked]


@given(changes())
def test_what_is_reachable_can_be_reached(case):
    """The reachable part, asked for beside what blocks, is a target that nothing blocks."""
    _, gpu, items = case
    (change,) = plan(Snapshot(gpus=(gpu,)), items).gpus
    beside = [LayoutItem(block.instance.profile, block.instance.placement.start) for block in change.blocked]
    # A used instance may serve a free item and yet lie where a placed one should.
    assert not plan(
        Snapshot(gpus=(gpu,)), [*change.reachable, *(b for b in beside if b not in change.reachable)]
    ).blocked
