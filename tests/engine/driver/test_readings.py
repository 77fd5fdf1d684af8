# SPDX-License-Identifier: Apache-2.0
"""Readings keep what was read last, and merge it with the ledger only where something changed."""

from hypothesis import given
from hypothesis import strategies as st

from hamid.core.claims.claim import Claim, ClaimedSeat, InstanceKey, LedgerFacts, OwnInstance, merge_gpu
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Placement
from hamid.engine.driver.readings import Readings

UUIDS = ("GPU-a", "GPU-b")
SEATS = [InstanceKey(uuid, 19, start) for uuid in UUIDS for start in (0, 4)]


def gpu(index, names):
    instances = tuple(
        Instance(
            profile="1g.5gb",
            profile_id=19,
            memory_mib=4864,
            placement=Placement(start=start, size=1),
            gi_id=start,
            mig_uuid=name,
        )
        for start, name in zip((0, 4), names, strict=True)
        if name
    )
    return Gpu(index=index, uuid=UUIDS[index], instances=instances)


NAMES = st.tuples(*[st.sampled_from(["", "MIG-1", "MIG-2"])] * 2)
OWN = st.builds(
    OwnInstance,
    seat=st.sampled_from(SEATS),
    profile=st.just("1g.5gb"),
    size=st.just(1),
    generation=st.integers(1, 2),
    mig_uuid=st.sampled_from([None, "MIG-1", "MIG-2"]),
)
CLAIMS = st.builds(
    lambda number, seats: Claim(
        id=number,
        operator_name=f"job-{number}",
        seats=tuple(ClaimedSeat(seat=each, profile="1g.5gb", size=1, made=True) for each in seats),
    ),
    st.integers(1, 2),
    st.lists(st.sampled_from(SEATS), unique=True, max_size=2),
)
FACTS = st.builds(
    LedgerFacts,
    own=st.lists(OWN, max_size=3).map(tuple),
    claims=st.lists(CLAIMS, max_size=2).map(tuple),
    unexplained=st.frozensets(st.sampled_from(SEATS), max_size=2),
    trusted=st.booleans(),
)


@given(st.lists(st.tuples(st.lists(NAMES, min_size=2, max_size=2), FACTS, st.booleans()), min_size=1, max_size=8))
def test_merged_gpus_equal_a_fresh_merge(moments):
    """Over any sequence of readings and ledgers, whether a GPU was read again or not."""
    readings = Readings()
    gpus: list[Gpu] = []
    for names, facts, again in moments:
        if again or not gpus:
            gpus = [gpu(index, each) for index, each in enumerate(names)]
            for each in gpus:
                readings.take(each)
        assert readings.merged(facts) == tuple(merge_gpu(each, facts) for each in gpus)


def test_a_gpu_whose_entries_did_not_change_is_not_merged_again():
    """Of two GPUs of which one changed, the other is the same object."""
    readings = Readings()
    for index in range(2):
        readings.take(gpu(index, ("MIG-1", "")))
    before = readings.merged(LedgerFacts())
    claimed = Claim(id=1, operator_name="a", seats=(ClaimedSeat(seat=SEATS[0], profile="1g.5gb", size=1, made=True),))
    after = readings.merged(LedgerFacts(claims=(claimed,)))
    assert after[0].instances[0].claim == "a"
    assert after[1] is before[1]
