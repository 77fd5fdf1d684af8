# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import claim, claimed_seat, gpu, instance, own

from hamid.core.claims.allocate import Reserved, for_planning
from hamid.core.claims.claim import LedgerFacts, merge_gpu, seat_of

GPU = gpu(("1g.5gb", 0), ("2g.10gb", 2))
SMALL, LARGE = GPU.instances
OURS = LedgerFacts(own=(own(GPU, SMALL), own(GPU, LARGE)))
FOREIGN = LedgerFacts()


def used(reserved, *, keep_foreign=False):
    """Where the planner may not put anything, as (profile, start, claim)."""
    (found,) = for_planning(reserved, [GPU], keep_foreign=keep_foreign)
    return [(each.profile, each.placement.start, each.claim) for each in found.used_instances]


@pytest.mark.parametrize(
    ("reserved", "keep_foreign", "expected"),
    [
        (Reserved(gpus=(GPU,), facts=OURS), True, []),
        (Reserved(gpus=(GPU,), facts=FOREIGN), False, []),
        (Reserved(gpus=(GPU,), facts=FOREIGN), True, [("1g.5gb", 0, ""), ("2g.10gb", 2, "")]),
        (Reserved(gpus=(GPU,), facts=OURS, doomed=frozenset({seat_of(GPU, LARGE)})), False, [("2g.10gb", 2, "")]),
        (
            Reserved(gpus=(replace(GPU, instances=(replace(SMALL, compute_instances=2), LARGE)),), facts=OURS),
            False,
            [("1g.5gb", 0, "")],
        ),
        (
            Reserved(gpus=(GPU,), facts=replace(OURS, claims=(claim(1, claimed_seat(GPU, "1g.5gb", 0)),))),
            False,
            [("1g.5gb", 0, "claim1")],
        ),
    ],
)
def test_what_the_planner_may_not_touch(reserved, keep_foreign, expected):
    """Claimed, doomed and divided instances are in use, and those of others where the configuration keeps them."""
    assert used(reserved, keep_foreign=keep_foreign) == expected


def test_a_promised_place_is_taken_although_nothing_lies_there():
    """A claim's missing instance takes its place, unless another instance lies there now."""
    claims = (claim(1, claimed_seat(GPU, "1g.5gb", 6)), claim(2, claimed_seat(GPU, "1g.5gb", 3)))
    reserved = Reserved(gpus=(GPU,), facts=replace(OURS, claims=claims))
    assert used(reserved) == [("1g.5gb", 6, "claim1")]


def test_a_claim_elsewhere_takes_nothing_here():
    """Only the claims of the GPUs that are planned on count, and only those GPUs are given to the planner."""
    other = gpu(index=1)
    facts = replace(OURS, claims=(claim(1, claimed_seat(other, "1g.5gb", 6)),))
    reserved = Reserved(gpus=(GPU, other), facts=facts)
    assert used(reserved) == []
    (found,) = for_planning(reserved, [other], keep_foreign=False)
    assert (found.uuid, len(found.used_instances)) == (other.uuid, 1)


def test_gpus_that_are_merged_already_are_taken_as_they_are():
    """The caller's merged GPUs give the same answer as merging here."""
    facts = replace(OURS, claims=(claim(1, claimed_seat(GPU, "1g.5gb", 0)),))
    fresh = Reserved(gpus=(GPU,), facts=facts)
    merged = replace(fresh, merged=(merge_gpu(GPU, facts),))
    assert for_planning(merged, [GPU], keep_foreign=True) == for_planning(fresh, [GPU], keep_foreign=True)
    idle = replace(GPU, instances=(instance(GPU, "1g.5gb", 5),))
    assert used(replace(merged, merged=(idle,))) == [("1g.5gb", 0, "claim1")]


def test_a_gpu_is_found_by_its_uuid():
    """A uuid that no GPU has finds none."""
    reserved = Reserved(gpus=(gpu(), gpu(index=1)), facts=FOREIGN)
    assert reserved.gpu(reserved.gpus[1].uuid) is reserved.gpus[1]
    assert reserved.gpu("GPU-other") is None
