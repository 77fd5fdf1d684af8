# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import claim, claimed_seat, gpu, instance, own, owner

from hamid.core.claims.claim import LedgerFacts
from hamid.core.claims.restore import ending_steps, is_promised, missing_steps
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import CreateInstance, DestroyInstance, SetMigMode

EMPTY = gpu()
SEAT = claimed_seat(EMPTY, "2g.10gb", 2)
CREATE = CreateInstance(
    gpu_uuid=EMPTY.uuid,
    gpu_index=0,
    profile="2g.10gb",
    profile_id=SEAT.seat.profile_id,
    placement=Placement(start=2, size=2),
)


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (EMPTY, [CREATE]),
        (gpu(mig=False), [SetMigMode(gpu_uuid=EMPTY.uuid, gpu_index=0, enabled=True), CREATE]),
        (gpu(("2g.10gb", 2)), []),
        (replace(EMPTY, instances=(instance(EMPTY, "2g.10gb", 2, compute_instances=0),)), [CREATE]),
        (gpu(("2g.10gb", 0)), [CREATE]),
        (gpu(index=1), []),
    ],
)
def test_what_a_claim_lacks_is_created_where_it_was(found, steps):
    """Only missing or half instances are made, at the recorded placement, after the MIG mode that they need."""
    assert list(missing_steps([found], [claim(1, SEAT)])) == steps


def test_a_mode_is_switched_once_for_all_instances_of_a_gpu():
    """Two claims on a GPU that lost its MIG mode share one switch, and a GPU without claims gets none."""
    claims = [claim(1, SEAT), claim(2, claimed_seat(EMPTY, "1g.5gb", 0))]
    kinds = [type(step).__name__ for step in missing_steps([gpu(mig=False), gpu(index=1, mig=False)], claims)]
    assert kinds == ["SetMigMode", "CreateInstance", "CreateInstance"]


@pytest.mark.parametrize(
    ("facts", "ending", "promised"),
    [
        (LedgerFacts(), set(), False),
        (LedgerFacts(own=(own(EMPTY, instance(EMPTY, "2g.10gb", 2)),)), set(), True),
        (LedgerFacts(claims=(claim(1, SEAT),)), set(), True),
        (LedgerFacts(claims=(claim(1, SEAT),)), {1}, False),
        (LedgerFacts(claims=(claim(1, SEAT, by=owner(), pending=True),)), set(), False),
    ],
)
def test_a_missing_instance_is_promised_while_its_claim_lasts(facts, ending, promised):
    """A claim that ends or is pending promises nothing; without a claim it is enough that the ledger has our row."""
    assert is_promised(SEAT.seat, facts, ending) is promised


def test_the_end_of_a_claim_destroys_only_what_was_made_for_it():
    """An adopted instance stays, and a GPU that is gone has no index."""
    seat = claimed_seat(EMPTY, "2g.10gb", 2, uuid="MIG-x")
    kept = claimed_seat(EMPTY, "1g.5gb", 0, made=False)
    step = DestroyInstance(
        gpu_uuid=EMPTY.uuid,
        gpu_index=4,
        profile="2g.10gb",
        profile_id=seat.seat.profile_id,
        placement=Placement(start=2, size=2),
        mig_uuid="MIG-x",
    )
    assert list(ending_steps(claim(1, seat, kept), {EMPTY.uuid: 4})) == [step]
    assert list(ending_steps(claim(1, seat, kept), {})) == [replace(step, gpu_index=-1)]
