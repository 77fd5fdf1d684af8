# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.narrow import present
from support.values import gpu as value_gpu
from support.values import instance as value_instance

from hamid.core.documents.plans import plan_document
from hamid.core.errors import UsageError
from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat, count_names
from hamid.core.hardware.gpu import Health, Holder, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.decide import decide
from hamid.core.planner.offer import seats_of
from hamid.core.planner.plan import Action, CreateInstance, DestroyInstance, Plan, SetMigMode
from hamid.core.planner.reasons import ReasonCode
from hamid.core.planner.refusal import Refusal
from hamid.core.planner.refusal_text import hint, message, verdict
from hamid.core.planner.request import Policy, make_request
from hamid.core.planner.what_if import assume_occupied
from hamid.core.units import parse_memory
from hamid.node.config.files import builtin_templates
from hamid.testing.boards import gpu_of, known_boards, node_of

TABLE = builtin_templates()


def ask(node, memory, count=1, **options):
    return decide(make_request(count=count, memory=parse_memory(memory), **options), node, TABLE)


def serving(plan):
    return sorted((i.profile, i.placement.start) for gpu in plan.gpus for i in gpu.instances if i.serves)


def idle(profile, profile_id, start, size, memory_mib=9856, generation=0):
    place = Placement(start=start, size=size)
    return Instance(
        profile=profile,
        profile_id=profile_id,
        memory_mib=memory_mib,
        placement=place,
        gi_id=1,
        mig_uuid="MIG-1",
        generation=generation,
    )


@pytest.mark.parametrize(
    ("board", "memory", "template", "serves", "rest"),
    [
        ("A100-40GB", "8000", 1, "2g.10gb", {"1g.5gb": 1, "2g.10gb": 1}),
        ("A100-80GB", "16000", 1, "2g.20gb", {"1g.10gb": 1, "2g.20gb": 1}),
        ("H100-80GB-SXM5", "16000", 1, "2g.20gb", {"1g.10gb": 1, "2g.20gb": 1}),
        ("H200-141GB", "30000", 1, "2g.35gb", {"1g.18gb": 1, "2g.35gb": 1}),
        ("A30-24GB", "8000", 1, "2g.12gb", {"2g.12gb": 0}),
        ("RTX-PRO-6000-Blackwell-96GB", "30000", 1, "2g.48gb", {"2g.48gb": 0}),
    ],
)
def test_the_worked_example_and_its_analogues(board, memory, template, serves, rest):
    """HAMi's own example: two of the middle size come from the second template and its rest stays creatable."""
    plan = ask(node_of(board, mig=False), memory, 2)
    assert isinstance(plan, Plan)
    (gpu,) = plan.gpus
    assert (present(gpu.template).index, gpu.template_rest) == (template, rest)
    assert [profile for profile, _ in serving(plan)] == [serves, serves]
    assert [type(step) for step in plan.steps] == [SetMigMode, CreateInstance, CreateInstance]
    for name, count in rest.items():
        assert gpu.creatable[name] >= count


def test_a_request_that_the_frozen_template_lacks_is_refused_with_the_reason():
    """20000 MiB do not come out of 2g.10gb*3 + 1g.5gb*1 while two of its instances are in use."""
    refusal = ask(assume_occupied(node_of("A100-40GB"), "2g.10gb@0,2g.10gb@2"), "20000")
    assert isinstance(refusal, Refusal)
    (reason,) = refusal.reasons
    assert reason.code is ReasonCode.TEMPLATE_IN_USE
    assert "3g.20gb*2" in message(reason.facts)
    assert "2g.10gb@0" in message(reason.facts)


def test_gpus_in_use_come_before_idle_ones():
    """A small request fills the GPU that is split already and leaves the idle one whole."""
    node = assume_occupied(node_of("A100-40GB", "A100-40GB"), "1=2g.10gb@0")
    assert ask(node, "8000").gpus[0].gpu.index == 1


def test_a_request_beyond_one_gpu_takes_the_fewest_gpus():
    """Five of 8000 MiB need two A100s: three on one, two on the other."""
    plan = ask(node_of("A100-40GB", "A100-40GB", "A100-40GB"), "8000", 5)
    assert [len([i for i in gpu.instances if i.serves]) for gpu in plan.gpus] == [3, 2]


def test_an_idle_instance_that_serves_is_reused_and_nothing_is_created():
    """What lies there unused and is the right size is taken before anything is made."""
    node = Snapshot(gpus=(gpu_of("A100-40GB", instances=(idle("2g.10gb", 14, 2, 2),)),))
    plan = ask(node, "8000")
    assert plan.steps == ()
    assert [(i.action, i.mig_uuid) for i in plan.gpus[0].instances] == [(Action.REUSE, "MIG-1")]


def test_an_idle_foreign_instance_in_the_way_is_left_unless_reclaim_is_said():
    """The refusal names the foreign instance and the option; with the option the plan destroys it."""
    node = Snapshot(gpus=(gpu_of("A100-40GB", instances=(idle("7g.40gb", 0, 0, 8, 40192),)),))
    refusal = ask(node, "8000", 2)
    assert refusal.reasons[0].code is ReasonCode.FOREIGN_INSTANCE
    assert "--reclaim-idle" in hint(refusal.reasons[0])
    plan = ask(node, "8000", 2, reclaim_idle=True)
    assert [type(step) for step in plan.steps] == [DestroyInstance, CreateInstance, CreateInstance]


def test_our_own_idle_instance_makes_way_without_asking():
    """An instance with a generation is hamid's own and idle: it may be destroyed, and the plan says so."""
    node = Snapshot(gpus=(gpu_of("A100-40GB", instances=(idle("7g.40gb", 0, 0, 8, 40192, generation=3),)),))
    plan = ask(node, "8000", 2)
    assert [i.action for i in plan.gpus[0].instances].count(Action.DESTROY) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"health": Health.LOST, "note": "gone"}, ReasonCode.LOST),
        ({"health": Health.UNREADABLE, "note": "odd"}, ReasonCode.UNREADABLE),
        ({"mig_capable": False}, ReasonCode.NOT_MIG_CAPABLE),
        ({"mig_enabled": False}, ReasonCode.MODE_PENDING),
        ({"mig_enabled": False, "mig_pending": False, "clients": (Holder(7, "python3"),)}, ReasonCode.CLIENTS_RUNNING),
        ({"name": "NVIDIA Wonder 1"}, ReasonCode.UNKNOWN_MODEL),
        ({"name": None}, ReasonCode.UNKNOWN_MODEL),
    ],
)
def test_a_gpu_that_cannot_serve_says_why_and_what_to_do(changes, code):
    """Each state of a GPU that rules it out has its own code, a message and a hint."""
    refusal = ask(Snapshot(gpus=(replace(gpu_of("A30-24GB"), **changes),)), "4000")
    assert [reason.code for reason in refusal.reasons] == [code]
    assert message(refusal.reasons[0].facts)
    assert hint(refusal.reasons[0])


def test_mig_off_is_refused_when_it_must_stay_off():
    """--no-enable refuses an idle GPU whose MIG mode is off instead of switching it on."""
    refusal = ask(node_of("A30-24GB", mig=False), "4000", enable_mig=False)
    assert refusal.reasons[0].code is ReasonCode.MIG_DISABLED


def test_more_memory_than_any_profile_names_the_largest():
    """The refusal of an impossible size says what would be possible."""
    refusal = ask(node_of("A30-24GB"), "30000")
    assert refusal.reasons[0].code is ReasonCode.NO_PROFILE_THAT_LARGE
    assert "24576" in message(refusal.reasons[0].facts)


def test_a_template_that_promises_more_than_the_driver_gives_is_warned_of():
    """HAMi counts a 2g.10gb as 10240 MiB; the driver's 9856 are told where the request lies between."""
    assert any("9856" in warning for warning in ask(node_of("A100-40GB"), "10000").warnings)
    assert not any("9856" in warning for warning in ask(node_of("A100-40GB"), "9000").warnings)


@pytest.mark.parametrize("text", ["2g.10gb@1", "2g.20gb@0", "1=2g.10gb@0", "2g.10gb@0,2g.10gb@0", "x=2g.10gb@0", "="])
def test_what_cannot_be_occupied_is_an_error(text):
    """An assumption that the board cannot hold is refused, not planned around."""
    with pytest.raises(UsageError):
        assume_occupied(node_of("A100-40GB"), text)


@st.composite
def nodes(draw):
    """Nodes of one to three boards with random legal instances, used or idle."""
    gpus = []
    for index, name in enumerate(draw(st.lists(st.sampled_from(known_boards()), min_size=1, max_size=3))):
        gpu = gpu_of(name, index=index, mig=draw(st.booleans()))
        board = board_of(gpu.profiles)
        occupancy, instances = board.empty, []
        for profile in draw(st.lists(st.sampled_from(board.profiles), max_size=5)) if gpu.mig_enabled else []:
            places = board.free_placements(occupancy, profile)
            if places:
                place = draw(st.sampled_from(places))
                occupancy = board.add(occupancy, Seat(profile, place))
                used, generation = draw(st.booleans()), draw(st.integers(0, 2))
                instances.append(
                    replace(
                        idle(profile.name, profile.profile_id, place.start, place.size, profile.memory_mib, generation),
                        used=used,
                    )
                )
        gpus.append(replace(gpu, instances=tuple(instances)))
    return Snapshot(gpus=tuple(gpus))


@given(nodes(), st.integers(1, 9), st.integers(1, 100_000), st.booleans())
def test_a_plan_is_legal_exact_and_touches_nothing_in_use(node, count, memory, reclaim):
    """On every node used instances stay, the end state is legal, each instance is large enough, the count is met."""
    outcome = ask(node, str(memory), count, reclaim_idle=reclaim)
    if isinstance(outcome, Refusal):
        assert {reason.gpu for reason in outcome.reasons} == {gpu.index for gpu in node.gpus}
        return
    served = [i for gpu in outcome.gpus for i in gpu.instances if i.serves]
    assert len(served) == count
    for plan in outcome.gpus:
        board = board_of(plan.gpu.profiles)
        stay = [i for i in plan.instances if i.action is not Action.DESTROY]
        occupancy = board.empty
        for item in stay:
            seat = Seat(present(board.named(item.profile)), item.placement)
            assert board.fits(occupancy, seat)
            occupancy = board.add(occupancy, seat)
        gone = {(i.profile, i.placement) for i in plan.instances if i.action is Action.DESTROY}
        assert not gone & {(i.profile, i.placement) for i in plan.gpu.used_instances}
        assert reclaim or all(i.generation for i in plan.gpu.instances if (i.profile, i.placement) in gone)
        claimed = {slot.name: slot.memory_mib for slot in plan.template.slots}
        assert all(claimed[i.profile] >= memory for i in plan.instances if i.serves)
    plan_document(outcome)


@given(nodes(), st.integers(1, 100_000))
def test_the_templates_rest_stays_creatable(node, memory):
    """After a plan the whole rest of its template can still be created beside what is used and granted."""
    outcome = ask(node, str(memory))
    for plan in outcome.gpus if isinstance(outcome, Plan) else ():
        board = board_of(plan.gpu.profiles)
        used = seats_of(plan.gpu, plan.gpu.used_instances)
        granted = [Seat(present(board.named(i.profile)), i.placement) for i in plan.instances if i.serves]
        left = present(plan.template_rest)
        rest = [present(board.named(name)) for name, number in left.items() for _ in range(number)]
        assert board.can_seat(board.occupy([*used, *granted]), rest)
        assert sum(count_names(p.name for p in rest).values()) == sum(left.values())


@given(nodes(), st.integers(1, 100_000), st.integers(1, 3))
def test_planning_is_deterministic(node, memory, count):
    """The same request over the same node gives the same document."""
    assert plan_document(ask(node, str(memory), count)) == plan_document(ask(node, str(memory), count))


def explained(*gpus, **request):
    """The outcome with everything that was considered, by the packed policy."""
    wanted = make_request(**{"count": 1, "memory": parse_memory("4000"), "policy": Policy.PACKED, **request})
    return decide(wanted, Snapshot(gpus=gpus), TABLE, explain=True, warnings=["w", "w"])


def verdicts(outcome):
    """What became of each GPU as a whole."""
    return [(each.gpu, each.code, verdict(each)) for each in outcome.considered if each.whole_gpu]


def test_every_gpu_that_could_serve_says_whether_it_was_chosen():
    """The GPU in use is chosen, the idle one comes after it, and a GPU without MIG says so."""
    busy = value_gpu()
    busy = replace(busy, instances=(value_instance(busy, "1g.5gb", 0, used=True),))
    found = explained(busy, value_gpu(index=1), value_gpu(index=2, mig_capable=False))
    assert verdicts(found) == [
        (0, None, "chosen"),
        (1, None, "could serve; another GPU comes first"),
        (2, ReasonCode.NOT_MIG_CAPABLE, "this GPU has no MIG"),
    ]
    assert found.warnings == ("w",)


def test_a_gpu_that_holds_a_part_of_the_request_says_so():
    """Neither GPU holds all eight instances, and both together do."""
    found = explained(value_gpu(), value_gpu(index=1), count=8)
    assert isinstance(found, Plan)
    assert verdicts(found) == [(0, None, "holds a part of the request"), (1, None, "holds a part of the request")]
    assert [len(serving_on.instances) for serving_on in found.gpus] == [7, 1]


def test_instances_whose_end_makes_no_room_are_no_blockers():
    """Where even an empty GPU is too small for the request, no used instance is named as in the way."""
    busy = value_gpu()
    busy = replace(busy, instances=(value_instance(busy, "1g.5gb", 0, used=True),))
    (reason,) = explained(busy, count=8).reasons
    assert (reason.code, reason.blockers) == (ReasonCode.NO_FREE_PLACEMENT, ())


def test_a_profile_that_the_gpu_lacks_is_told_with_those_that_it_has():
    """The packed policy names the profile, and its hint the legal ones."""
    (reason,) = explained(value_gpu(board="A30-24GB"), memory=None, profile="2g.10gb").reasons
    assert reason.code is ReasonCode.UNKNOWN_PROFILE
    assert message(reason.facts) == "this GPU has no profile 2g.10gb"
    assert hint(reason).startswith("it has 1g.6gb, ")


def test_same_gpu_never_splits_a_request():
    """Two GPUs that hold it together are refused where one alone is wanted."""
    assert isinstance(explained(value_gpu(), value_gpu(index=1), count=8, same_gpu=True), Refusal)
