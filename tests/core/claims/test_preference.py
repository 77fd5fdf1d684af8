# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st
from support.values import claim, claimed_seat, gpu, share

from hamid.core.claims.allocate import Reserved
from hamid.core.claims.claim import LedgerFacts
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.device_ids import device_id, gpu_of
from hamid.core.claims.preference import prefer
from hamid.core.config.config import Config, Mode
from hamid.core.planner.request import Policy

MIG = Config(mode=Mode.MIG, policy=Policy.PACKED)
GPUS = tuple(gpu(index=index) for index in range(3))
PLAIN = tuple(gpu(index=index, mig=False) for index in range(3))
IDS = [device_id(each.uuid, number) for each in GPUS for number in range(3)]


def preferred(claims, config, count, must=(), *, gpus=GPUS, available=IDS, memory_mib=4000):
    """The preference, each id as (GPU, part)."""
    reserved = Reserved(gpus=gpus, facts=LedgerFacts(claims=claims))
    found = prefer(reserved, config, ContainerRequest(count=count, memory_mib=memory_mib), available, must)
    places = {each.uuid: each.index for each in gpus}
    return [(places[gpu_of(each)], int(each.rpartition("-")[2])) for each in found]


@given(
    st.lists(st.sampled_from(IDS), unique=True),
    st.lists(st.sampled_from(IDS), unique=True, max_size=3),
    st.integers(1, 5),
    st.sampled_from([MIG, Config()]),
    st.booleans(),
)
def test_a_preference_is_of_what_kubelet_offers(available, must, count, config, taken):
    """As many ids as are wanted, or all there are; each once, among those on offer, and what must be there is first."""
    claims = (claim(1, claimed_seat(GPUS[0], "7g.40gb", 0)),) if taken else ()
    reserved = Reserved(gpus=GPUS if config is MIG else PLAIN, facts=LedgerFacts(claims=claims))
    found = prefer(reserved, config, ContainerRequest(count=count, memory_mib=4000), available, must)
    offered = {*available, *must}
    assert list(found[: len(must)]) == must
    assert len(set(found)) == len(found) == max(min(count, len(offered)), len(must))
    assert set(found) <= offered


def test_the_gpu_that_allocate_would_take_is_preferred():
    """Instances go where the planner would put them: beside the claim that is there already."""
    claims = (claim(1, claimed_seat(GPUS[1], "1g.5gb", 0)),)
    assert preferred(claims, MIG, 1) == [(1, 0)]


def test_several_shares_lie_on_several_gpus():
    """A container gets one share of a GPU at most, so its ids are of different GPUs."""
    assert preferred((), Config(), 2, gpus=PLAIN) == [(0, 0), (1, 0)]


def test_several_instances_may_lie_on_one_gpu():
    """The ids follow the instances: two on the GPU that holds both."""
    assert preferred((), MIG, 2) == [(0, 0), (0, 1)]


def test_what_must_be_included_decides_the_gpu():
    """An id that kubelet insists on comes first, and the rest goes to GPUs that the choice names."""
    must = [device_id(PLAIN[2].uuid, 2)]
    assert preferred((), Config(), 2, must, gpus=PLAIN) == [(2, 2), (0, 0)]


def test_without_a_choice_busy_gpus_come_first():
    """Where nothing fits now, the ids of the GPU with most claims are preferred, as binpack would."""
    claims = (
        claim(1, share(PLAIN[1], 40_000)),
        claim(2, share(PLAIN[0], 40_000)),
        claim(3, share(PLAIN[1], 1)),
        claim(4, share(PLAIN[2], 40_000)),
    )
    assert preferred(claims, Config(), 2, gpus=PLAIN) == [(1, 0), (0, 0)]


def test_ids_of_a_gpu_that_is_gone_come_last():
    """An id whose GPU the node no longer has is taken only when nothing else is left."""
    reserved = Reserved(gpus=PLAIN[:1], facts=LedgerFacts())
    gone, there = device_id("GPU-gone", 0), device_id(PLAIN[0].uuid, 1)
    wanted = ContainerRequest(count=1, memory_mib=4000)
    assert prefer(reserved, Config(), wanted, [gone, there], []) == (there,)
    assert prefer(reserved, Config(), wanted, [gone], []) == (gone,)
