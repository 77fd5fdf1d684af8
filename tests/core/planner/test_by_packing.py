# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.gpu import Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.decide import decide
from hamid.core.planner.offer import seats_of
from hamid.core.planner.plan import Action, Plan
from hamid.core.planner.reasons import ReasonCode
from hamid.core.planner.refusal import Refusal
from hamid.core.planner.refusal_text import hint
from hamid.core.planner.request import GpuPolicy, MemoryMatch, Policy, make_request
from hamid.core.planner.what_if import assume_occupied
from hamid.core.units import parse_memory
from hamid.node.config.files import builtin_templates
from hamid.testing.boards import gpu_of, known_boards, node_of

TABLE = builtin_templates()
USED = st.booleans()


def ask(node, memory=None, count=1, explain=False, policy=Policy.PACKED, **options):
    asked = None if memory is None else parse_memory(memory)
    return decide(make_request(count=count, memory=asked, policy=policy, **options), node, TABLE, explain=explain)


def serving(plan):
    return [(gpu.gpu.index, i.profile, i.placement.start) for gpu in plan.gpus for i in gpu.instances if i.serves]


@st.composite
def gpus(draw, *, used=USED):
    """One GPU with random legal instances."""
    gpu = gpu_of(draw(st.sampled_from(known_boards())))
    board = board_of(gpu.profiles)
    occupancy = board.empty
    instances: list[Instance] = []
    for profile in draw(st.lists(st.sampled_from(board.profiles), max_size=4)):
        places = board.free_placements(occupancy, profile)
        if places:
            seat = Seat(profile, draw(st.sampled_from(places)))
            occupancy = board.add(occupancy, seat)
            instances.append(
                Instance(
                    profile=profile.name,
                    profile_id=profile.profile_id,
                    memory_mib=profile.memory_mib,
                    placement=seat.placement,
                    gi_id=len(instances),
                    mig_uuid=f"MIG-{len(instances)}",
                    used=draw(used),
                )
            )
    return replace(gpu, instances=tuple(instances))


def exhaustive(gpu, memory, count):
    """Whether any choice of sufficient profiles and places is legal beside what is there, by trying all of them."""
    board = board_of(gpu.profiles)
    seats = [
        Seat(profile, place)
        for profile in board.profiles
        if profile.memory_mib >= memory and not profile.suffix
        for place in profile.placements
    ]
    occupied = board.occupy(seats_of(gpu, gpu.instances))
    for group in itertools.combinations(seats, count):
        occupancy = occupied
        for seat in group:
            if not board.fits(occupancy, seat):
                break
            occupancy = board.add(occupancy, seat)
        else:
            return True
    return False


@given(gpus(used=st.just(True)), st.integers(1, 3), st.integers(1, 50_000))
def test_packed_accepts_exactly_what_exhaustive_search_accepts(gpu, count, memory):
    """On every board and for every used set: a plan if and only if some legal placement exists."""
    outcome = ask(Snapshot(gpus=(gpu,)), str(memory), count)
    assert isinstance(outcome, Plan) == exhaustive(gpu, memory, count)


@given(gpus(), st.integers(1, 50_000), st.integers(1, 3))
def test_a_plan_of_a_satisfied_state_is_empty(gpu, memory, count):
    """Once a plan's instances exist and lie idle, the same request needs no step at all."""
    node = Snapshot(gpus=(gpu,))
    plan = ask(node, str(memory), count)
    if isinstance(plan, Refusal):
        return
    known = {profile.name: profile.profile_id for profile in gpu.profiles}
    done = tuple(
        Instance(
            profile=item.profile,
            profile_id=known[item.profile],
            memory_mib=item.memory_mib,
            placement=item.placement,
            gi_id=number,
            used=item.action is Action.KEEP and any(i.placement == item.placement and i.used for i in gpu.instances),
        )
        for number, item in enumerate(plan.gpus[0].instances)
    )
    again = ask(Snapshot(gpus=(replace(gpu, instances=done),)), str(memory), count)
    assert again.steps == ()


@given(st.lists(gpus(), min_size=2, max_size=3), st.integers(1, 50_000), st.integers(1, 3), st.sampled_from(Policy))
def test_equal_gpus_are_interchangeable(found, memory, count, policy):
    """Where the GPUs stand in the node changes which index serves, never whether or how much is served."""
    forward = Snapshot(gpus=tuple(replace(gpu, index=i) for i, gpu in enumerate(found)))
    backward = Snapshot(gpus=tuple(replace(gpu, index=i) for i, gpu in enumerate(reversed(found))))
    first, second = (ask(node, str(memory), count, policy=policy) for node in (forward, backward))
    assert type(first) is type(second)
    if isinstance(first, Plan):
        assert len(first.gpus) == len(second.gpus)
        assert len(serving(first)) == len(serving(second)) == count


def test_spread_takes_idle_gpus_first():
    """Binpack fills the GPU in use, spread the idle one."""
    node = assume_occupied(node_of("A100-40GB", "A100-40GB"), "0=1g.5gb@0")
    assert serving(ask(node, "4000"))[0][0] == 0
    assert serving(ask(node, "4000", gpu_policy=GpuPolicy.SPREAD))[0][0] == 1


def test_same_gpu_forbids_to_spread_a_request():
    """Three halves go over two A100s, and are refused when they must stay together."""
    node = node_of("A100-40GB", "A100-40GB")
    assert {gpu for gpu, _, _ in serving(ask(node, "19000", 3))} == {0, 1}
    assert isinstance(ask(node, "19000", 3, same_gpu=True), Refusal)


def test_selectors_and_models_exclude():
    """GPUs outside -i and --model answer Excluded; a model matches by whole tokens."""
    node = node_of("A100-40GB", "A30-24GB")
    assert serving(ask(node, "4000", models=("a30",)))[0][0] == 1
    refusal = ask(node, "30000", models=("A3",))
    assert [reason.code for reason in refusal.reasons] == [ReasonCode.EXCLUDED, ReasonCode.EXCLUDED]


@pytest.mark.parametrize(("cores", "profile"), [(15, "1g.5gb"), (16, "2g.10gb"), (44, "4g.20gb"), (100, "7g.40gb")])
def test_cores_count_as_share_of_the_multiprocessors(cores, profile):
    """A 1g of an A100 has 14 of 98 multiprocessors: 14.3 percent, counted as 15."""
    assert serving(ask(node_of("A100-40GB"), "1", cores_percent=cores))[0][1] == profile


def test_the_smallest_set_in_the_way_is_named():
    """Two scattered small instances break both halves; one of them would have to move."""
    node = assume_occupied(node_of("A100-40GB"), "1g.5gb@1,1g.5gb@4")
    (reason,) = ask(node, "19000", explain=True).reasons
    assert len(reason.blockers) == 1
    assert "moving" in hint(reason)


def test_blockers_that_cannot_move_must_end():
    """Where the request takes what they hold, no move helps: their end would."""
    node = assume_occupied(node_of("A100-40GB"), "3g.20gb@0")
    (reason,) = ask(node, "40000", explain=True).reasons
    assert [blocker.profile for blocker in reason.blockers] == ["3g.20gb"]
    assert "ending 3g.20gb@0" in hint(reason)


def test_memory_match_may_take_the_templates_figure():
    """Policy packed counts NVML's 9856 MiB for a 2g.10gb unless the template's 10240 are asked for."""
    node = node_of("A100-40GB")
    assert serving(ask(node, "10000"))[0][1] == "3g.20gb"
    from_template = ask(node, "10000", memory_match=MemoryMatch.TEMPLATE)
    assert serving(from_template)[0][1] == "2g.10gb"
