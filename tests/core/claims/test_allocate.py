# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.narrow import exactly
from support.values import claim, claimed_seat, gpu, mig_uuid, own, share

from hamid.core.claims.allocate import Choice, Reserved, check_ids, choose
from hamid.core.claims.claim import Claim, LedgerFacts
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.config.config import Config, ForeignInstances, Mode
from hamid.core.hardware.gpu import Health
from hamid.core.planner.plan import CreateInstance, DestroyInstance
from hamid.core.planner.reasons import FilteredOut, NoFreePlacement, NotServed, Reason, Unavailable, WrongMode
from hamid.core.planner.refusal import NoGpu, NoInstances, NoKind, NoShares, Refusal, RepeatedDevice, UnknownDevice
from hamid.core.planner.request import Policy

MIG = Config(mode=Mode.MIG, policy=Policy.PACKED)
SMALL = ContainerRequest(count=1, memory_mib=4000)
WHOLE = ContainerRequest(count=1)


def node(*gpus, claims=(), **fields):
    """The GPUs, whose instances are all hamid's own."""
    rows = tuple(own(each, made) for each in gpus for made in each.instances)
    return Reserved(gpus=gpus, facts=LedgerFacts(own=rows, claims=claims), **fields)


def chosen(reserved, config, wanted, ids=()):
    return exactly(Choice, choose(reserved, config, wanted, ids))


def refused(reserved, config, wanted, ids=()):
    return exactly(Refusal, choose(reserved, config, wanted, ids))


def places(choice):
    return [(each.seat.gpu_uuid, each.profile, each.seat.start, each.made) for each in choice.seats]


@pytest.mark.parametrize(
    ("ids", "facts"),
    [
        (["a", "b"], None),
        ([], None),
        (["a", "a"], RepeatedDevice()),
        (["a", "x", "w"], UnknownDevice("w")),
    ],
)
def test_kubelets_ids_are_known_and_different(ids, facts):
    """An id that is repeated or was never advertised is refused, and the refusal names it."""
    found = check_ids(ids, ["a", "b", "c"])
    assert (found and found.facts) == facts


def test_an_instance_that_is_missing_is_created():
    """The choice holds the seat and the step that makes it, of the smallest profile that is enough."""
    empty = gpu()
    choice = chosen(node(empty), MIG, SMALL)
    (seat,) = choice.seats
    assert (choice.mode, choice.shares, choice.gpu_uuids) == (Mode.MIG, (), (empty.uuid,))
    assert (seat.profile, seat.made, seat.mig_uuid) == ("1g.5gb", True, None)
    (step,) = choice.steps
    created = exactly(CreateInstance, step)
    assert (created.profile_id, created.placement) == (seat.seat.profile_id, seat.placement)


def test_an_idle_instance_that_is_enough_is_reused():
    """Nothing is made then, and the seat carries the MIG UUID of what lies there."""
    found = gpu(("1g.5gb", 3))
    choice = chosen(node(found), MIG, SMALL)
    assert places(choice) == [(found.uuid, "1g.5gb", 3, False)]
    assert choice.seats[0].mig_uuid == mig_uuid(found, "1g.5gb", 3)
    assert choice.steps == ()


def test_an_idle_instance_of_ours_gives_way():
    """Where only an idle instance of hamid's is in the way, it is destroyed before the new one is made."""
    found = gpu(("7g.40gb", 0))
    choice = chosen(node(found), MIG, replace(SMALL, count=2))
    assert [type(step) for step in choice.steps] == [DestroyInstance, CreateInstance, CreateInstance]
    assert {each.made for each in choice.seats} == {True}


@pytest.mark.parametrize(
    ("foreign", "reused"),
    [(ForeignInstances.REUSE, True), (ForeignInstances.RECLAIM, True), (ForeignInstances.KEEP, False)],
)
def test_an_idle_instance_of_others_is_used_as_configured(foreign, reused):
    """With `keep` it is left alone and a new instance is made beside it."""
    found = gpu(("1g.5gb", 3))
    reserved = Reserved(gpus=(found,), facts=LedgerFacts())
    choice = chosen(reserved, replace(MIG, foreign_instances=foreign), SMALL)
    assert (choice.steps == ()) is reused
    assert choice.seats[0].made is not reused


def test_reclaiming_destroys_idle_instances_of_others():
    """Only with `reclaim` is a foreign instance destroyed to make room."""
    reserved = Reserved(gpus=(gpu(("7g.40gb", 0)),), facts=LedgerFacts())
    two = replace(SMALL, count=2)
    assert refused(reserved, MIG, two).code == "no-fit"
    choice = chosen(reserved, replace(MIG, foreign_instances=ForeignInstances.RECLAIM), two)
    assert isinstance(choice.steps[0], DestroyInstance)


@pytest.mark.parametrize("wanted", [WHOLE, replace(WHOLE, memory_percent=100), replace(WHOLE, cores_percent=100)])
def test_a_container_that_names_no_size_gets_a_whole_gpu(wanted):
    """A request for a whole GPU gets its largest plain profile on every model."""
    for board, profile in (("A100-40GB", "7g.40gb"), ("A30-24GB", "4g.24gb")):
        assert chosen(node(gpu(board=board)), MIG, wanted).seats[0].profile == profile


def test_a_percentage_is_of_each_gpus_memory():
    """Half of a GPU is a profile with at least half of its memory."""
    assert chosen(node(gpu()), MIG, replace(WHOLE, memory_percent=40)).seats[0].profile in {"3g.20gb", "4g.20gb"}


def test_models_are_tried_one_after_the_other():
    """Where the first model has no whole GPU left the next one serves, and a refusal has the true reason of each."""
    first, second = gpu(), gpu(index=1, board="A30-24GB")
    taken = claim(1, claimed_seat(first, "1g.5gb", 0))
    assert chosen(node(first, second, claims=(taken,)), MIG, WHOLE).gpu_uuids == (second.uuid,)
    both = (taken, claim(2, claimed_seat(second, "1g.6gb", 0)))
    found = refused(node(first, second, claims=both), MIG, WHOLE)
    assert found.facts == NoInstances("1 x profile 4g.24gb")
    assert [(reason.gpu, type(reason.facts)) for reason in found.reasons] == [
        (0, NoFreePlacement),
        (1, NoFreePlacement),
    ]


def test_a_gpu_that_lists_no_profiles_cannot_be_given_whole():
    """A driver that tells no profiles leaves nothing to ask for, which is refused and not an error."""
    assert refused(node(gpu(profiles=())), MIG, WHOLE) == Refusal(facts=NoInstances("an instance"))


@pytest.mark.parametrize(
    ("steering", "index"),
    [({}, 1), ({"preferred_allocation": False}, 0), ({"preferred_allocation": False, "numa_topology": True}, 1)],
)
def test_kubelets_ids_count_where_we_steered_them(steering, index):
    """Without a preference of ours and without topology, kubelet's ids say nothing about the GPU."""
    gpus = gpu(), gpu(index=1)
    choice = chosen(node(*gpus), replace(MIG, **steering), SMALL, [f"{gpus[1].uuid}-0"])
    assert choice.gpu_uuids == (gpus[index].uuid,)


def test_a_steered_gpu_that_is_full_is_left_for_another():
    """The ids only come first: where their GPU has no room the others are tried too."""
    gpus = gpu(), gpu(index=1)
    full = claim(1, claimed_seat(gpus[1], "7g.40gb", 0))
    choice = chosen(node(*gpus, claims=(full,)), MIG, SMALL, [f"{gpus[1].uuid}-0"])
    assert choice.gpu_uuids == (gpus[0].uuid,)


def test_shares_are_taken_where_mig_is_off():
    """A GPU in any mode but MIG gives a share of what the ledger's claims leave."""
    plain = gpu(mig=False)
    given_away = claim(1, share(plain, 30_000))
    wanted = ContainerRequest(count=1, memory_mib=10_000, cores_percent=20, mode=Mode.MPS)
    choice = chosen(node(plain, claims=(given_away,)), Config(), wanted)
    assert choice == Choice(mode=Mode.HAMI_CORE, shares=(share(plain, 10_000, 20),))
    assert choice.gpu_uuids == (plain.uuid,)
    more = replace(wanted, memory_mib=20_000)
    assert refused(node(plain, claims=(given_away,)), Config(), more).facts == NoShares(1, "20000 MiB and 20% cores", 1)


MIXED = replace(MIG, mode=Mode.HAMI_CORE, gpu_modes={"1": Mode.MIG})


@pytest.mark.parametrize(("number", "mode"), [(0, Mode.HAMI_CORE), (1, Mode.MIG)])
def test_the_kind_of_kubelets_gpu_is_tried_first(number, mode):
    """On a node with both kinds of sharing, the container gets the kind of the GPU that kubelet chose."""
    gpus = gpu(mig=False), gpu(index=1)
    assert chosen(node(*gpus), MIXED, SMALL, [f"{gpus[number].uuid}-3"]).mode is mode


def test_a_container_that_insists_on_a_mode_gets_no_other():
    """A wish for MIG leaves out GPUs of other modes, with the reason."""
    gpus = gpu(mig=False), gpu(index=1)
    full = claim(1, claimed_seat(gpus[1], "7g.40gb", 0))
    reserved = node(*gpus, claims=(full,))
    assert chosen(reserved, MIXED, SMALL).mode is Mode.HAMI_CORE
    found = refused(reserved, MIXED, replace(SMALL, mode=Mode.MIG))
    assert {reason.gpu: type(reason.facts) for reason in found.reasons} == {0: WrongMode, 1: NoFreePlacement}


def test_when_neither_kind_can_be_had_both_refusals_are_told():
    """Each kind's refusal stays whole inside the one that the container gets."""
    gpus = gpu(mig=False), gpu(index=1)
    claims = claim(1, share(gpus[0], 40_960)), claim(2, claimed_seat(gpus[1], "7g.40gb", 0))
    found = exactly(NoKind, refused(node(*gpus, claims=claims), MIXED, SMALL).facts)
    assert [type(each.facts) for each in found.refusals] == [NoShares, NoInstances]


def test_a_node_without_a_gpu_to_serve_refuses():
    """Without GPUs, or with filters on all of them, no kind of sharing is left to try."""
    assert refused(node(), MIG, SMALL) == Refusal(facts=NoGpu())
    assert refused(node(gpu()), replace(MIG, filter_indexes=(0,)), SMALL) == Refusal(facts=NoGpu())


def test_every_gpu_that_may_not_serve_says_why():
    """A filtered, a lost and a sick GPU each get a reason, when none is left for the container."""
    gpus = gpu(), gpu(index=1, health=Health.LOST, note="fell off"), gpu(index=2)
    reserved = node(*gpus, problems={gpus[2].uuid: "it is sick"})
    found = refused(reserved, replace(MIG, filter_uuids=(gpus[0].uuid,)), SMALL)
    assert found == Refusal(
        facts=NoGpu(),
        reasons=(
            Reason(gpu=0, facts=FilteredOut()),
            Reason(gpu=1, facts=NotServed(Health.LOST, "fell off")),
            Reason(gpu=2, facts=Unavailable("it is sick")),
        ),
    )


@given(st.lists(st.integers(500, 20_000), min_size=1, max_size=6))
def test_nothing_is_given_twice(sizes):
    """Container after container: no two claims overlap, and what is refused is refused for want of room."""
    empty = gpu()
    claims: tuple[Claim, ...] = ()
    taken = 0
    for number, mib in enumerate(sizes):
        found = choose(node(empty, claims=claims), MIG, ContainerRequest(count=1, memory_mib=mib), ())
        if isinstance(found, Refusal):
            assert isinstance(found.facts, NoInstances)
            continue
        for seat in found.seats:
            assert not seat.placement.mask & taken
            taken |= seat.placement.mask
        claims = (*claims, claim(number, *found.seats))


@pytest.mark.parametrize(
    ("wish", "index"),
    [
        ({}, 1),
        ({"use_types": ("A100",)}, 0),
        ({"avoid_types": ("A30",)}, 0),
        ({"use_uuids": (gpu(index=0).uuid,)}, 0),
        ({"avoid_uuids": (gpu(index=1).uuid,)}, 0),
    ],
)
def test_a_containers_wishes_choose_the_gpu(wish, index):
    """Parts of names and whole uuids that the pod wants, or wants to avoid, leave out the other GPUs."""
    gpus = gpu(), gpu(index=1, board="A30-24GB")
    assert chosen(node(*gpus), MIG, replace(SMALL, **wish)).gpu_uuids == (gpus[index].uuid,)
