# SPDX-License-Identifier: Apache-2.0
"""How a step is undone, as a table: a used, altered or foreign instance is never destroyed."""

import pytest
from msgspec.structs import replace

from hamid.core.claims.claim import Claim, ClaimedSeat, InstanceKey, LedgerFacts, OwnInstance
from hamid.core.claims.journal import (
    Decision,
    Entry,
    EntryState,
    Goal,
    Prior,
    Run,
    Undo,
    describe,
    newly_made,
    own_after,
    undo_of,
)
from hamid.core.hardware.gpu import Holder, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import CreateInstance, DestroyInstance, SetMigMode
from hamid.testing.boards import gpu_of

EMPTY = gpu_of("A30-24GB")
PLACE = Placement(start=0, size=1)
SEAT = InstanceKey(EMPTY.uuid, 14, 0)
CREATE = CreateInstance(gpu_uuid=EMPTY.uuid, gpu_index=0, profile="1g.6gb", profile_id=14, placement=PLACE)
DESTROY = DestroyInstance(
    gpu_uuid=EMPTY.uuid, gpu_index=0, profile="1g.6gb", profile_id=14, placement=PLACE, mig_uuid="MIG-a"
)
WHOLE = Instance(
    profile="1g.6gb",
    profile_id=14,
    memory_mib=5952,
    placement=PLACE,
    gi_id=3,
    ci_id=0,
    mig_uuid="MIG-a",
    compute_instances=1,
)
HALF = replace(WHOLE, ci_id=None, mig_uuid=None, compute_instances=0)
DIVIDED = replace(WHOLE, compute_instances=2)
BUSY = replace(WHOLE, used=True, holders=(Holder(pid=7, name="job", memory_mib=1),))
OTHERS = replace(WHOLE, mig_uuid="MIG-b")
BIG = replace(WHOLE, profile="4g.24gb", profile_id=0, placement=Placement(start=0, size=4))
NO_FACTS = LedgerFacts()
CLAIMED = LedgerFacts(
    claims=(Claim(id=1, operator_name="job", seats=(ClaimedSeat(seat=SEAT, profile="1g.6gb", size=1, made=True),)),)
)
LOST = LedgerFacts(unexplained=frozenset({SEAT}))
EXISTED, WAS_WHOLE, WAS_HALF = Prior(existed=True), Prior(existed=True, whole=True), Prior(existed=True)


NOTHING_BEFORE = Prior()


def entry(step, prior=NOTHING_BEFORE, state=EntryState.BEGIN, mig_uuid=None):
    return Entry(run=1, position=0, step=step, prior=prior, generation=9, state=state, mig_uuid=mig_uuid)


def gpu(*instances, **fields):
    return replace(EMPTY, instances=instances, **fields)


@pytest.mark.parametrize(
    ("begun", "now", "facts", "undo"),
    [
        (entry(CREATE), gpu(), NO_FACTS, Undo.NOTHING),
        (entry(CREATE), gpu(HALF), NO_FACTS, Undo.DESTROY),
        (entry(CREATE), gpu(WHOLE), NO_FACTS, Undo.DESTROY),
        (entry(CREATE, EXISTED), gpu(WHOLE), NO_FACTS, Undo.NOTHING),
        (entry(CREATE), gpu(BUSY), NO_FACTS, Undo.KEEP),
        (entry(CREATE), gpu(WHOLE), CLAIMED, Undo.KEEP),
        (entry(CREATE), gpu(WHOLE), LOST, Undo.KEEP),
        (entry(CREATE), gpu(WHOLE), LedgerFacts(trusted=False), Undo.KEEP),
        (entry(CREATE), gpu(DIVIDED), NO_FACTS, Undo.KEEP),
        (entry(CREATE, mig_uuid="MIG-a"), gpu(OTHERS), NO_FACTS, Undo.KEEP),
        (entry(CREATE, mig_uuid="MIG-a"), gpu(WHOLE), NO_FACTS, Undo.DESTROY),
        (entry(CREATE), gpu(BIG), NO_FACTS, Undo.NOTHING),
        (entry(DESTROY), gpu(), NO_FACTS, Undo.NOTHING),
        (entry(DESTROY, WAS_WHOLE), gpu(), NO_FACTS, Undo.CREATE),
        (entry(DESTROY, WAS_WHOLE), gpu(HALF), NO_FACTS, Undo.COMPLETE),
        (entry(DESTROY, WAS_WHOLE), gpu(WHOLE), NO_FACTS, Undo.NOTHING),
        (entry(DESTROY, WAS_HALF), gpu(HALF), NO_FACTS, Undo.NOTHING),
        (entry(DESTROY, WAS_HALF), gpu(), NO_FACTS, Undo.KEEP),
        (entry(DESTROY, WAS_WHOLE), gpu(BIG), NO_FACTS, Undo.KEEP),
        (entry(DESTROY, WAS_WHOLE), gpu(mig_enabled=False), NO_FACTS, Undo.KEEP),
    ],
)
def test_what_takes_an_instance_step_back(begun, now, facts, undo):
    """Only an unused instance that this step created is destroyed, whole or half; only what it destroyed comes back."""
    decision = undo_of(begun, now, facts)
    assert decision.undo is undo
    assert bool(decision.why) == (undo is Undo.KEEP)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("now", "undo"),
    [
        ({"current": "before", "pending": "before"}, Undo.NOTHING),
        ({"current": "before", "pending": "after"}, Undo.MODE),
        ({"current": "after", "pending": "after"}, Undo.MODE),
        ({"current": "after", "pending": "after", "instances": (WHOLE,)}, Undo.KEEP),
        ({"current": "after", "pending": "after", "clients": (Holder(pid=7, name="job", memory_mib=1),)}, Undo.KEEP),
    ],
)
def test_what_takes_a_mode_back(before, now, undo):
    """A mode goes back from pending always, from in force only on a GPU with no instance and no client."""
    mode = {"before": before, "after": not before}
    fields = {key: value for key, value in now.items() if key not in {"current", "pending"}}
    found = replace(EMPTY, mig_enabled=mode[now["current"]], mig_pending=mode[now["pending"]], **fields)
    step = SetMigMode(gpu_uuid=EMPTY.uuid, gpu_index=0, enabled=not before)
    assert undo_of(entry(step, Prior(mode=before)), found, NO_FACTS).undo is undo


def own(generation, mig_uuid="MIG-a"):
    return OwnInstance(seat=SEAT, profile="1g.6gb", size=1, generation=generation, mig_uuid=mig_uuid)


@pytest.mark.parametrize(
    ("begun", "undo", "now", "left"),
    [
        (entry(CREATE), Undo.DESTROY, gpu(), None),
        (entry(CREATE), Undo.KEEP, gpu(BUSY), own(9)),
        (entry(CREATE), Undo.KEEP, gpu(DIVIDED), None),
        (entry(CREATE, mig_uuid="MIG-a"), Undo.KEEP, gpu(OTHERS), None),
        (entry(CREATE, Prior(existed=True, own=own(3))), Undo.NOTHING, gpu(WHOLE), own(3)),
        (entry(CREATE, Prior(existed=True, own=own(3))), Undo.NOTHING, gpu(OTHERS), own(9, "MIG-b")),
        (entry(CREATE, EXISTED), Undo.NOTHING, gpu(WHOLE), None),
        (entry(DESTROY, Prior(existed=True, whole=True, own=own(3))), Undo.NOTHING, gpu(WHOLE), own(3)),
        (entry(DESTROY, Prior(existed=True, whole=True, own=own(3))), Undo.CREATE, gpu(OTHERS), own(9, "MIG-b")),
        (entry(DESTROY, WAS_WHOLE), Undo.NOTHING, gpu(WHOLE), None),
        (entry(DESTROY, WAS_WHOLE, EntryState.DONE), Undo.NOTHING, gpu(WHOLE), own(9)),
        (entry(DESTROY, WAS_WHOLE), Undo.NOTHING, gpu(), None),
    ],
)
def test_what_is_ours_once_a_step_was_taken_back(begun, undo, now, left):
    """Our instance keeps its generation, a recreated one gets this run's, and a foreign one stays foreign."""
    assert own_after(begun, undo, now) == left


def test_a_mode_leaves_nothing_of_ours():
    """A mode step has no seat."""
    step = SetMigMode(gpu_uuid=EMPTY.uuid, gpu_index=0, enabled=True)
    assert own_after(entry(step), Undo.MODE, EMPTY) is None
    assert undo_of(entry(step), EMPTY, NO_FACTS) == Decision(Undo.MODE)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (SetMigMode(gpu_uuid=EMPTY.uuid, gpu_index=0, enabled=True), "MIG mode on on GPU 0"),
        (SetMigMode(gpu_uuid=EMPTY.uuid, gpu_index=2, enabled=False), "MIG mode off on GPU 2"),
        (CREATE, "create 1g.6gb@0 on GPU 0"),
        (DESTROY, "destroy 1g.6gb@0 on GPU 0"),
    ],
)
def test_a_step_is_said_in_words(step, words):
    """Messages about a run name what was done, to which instance, on which GPU."""
    assert describe(step) == words


def run_of(*entries, steps=(CREATE, DESTROY)):
    return Run(
        run=1,
        boot_id="boot",
        goal=Goal.ALL,
        claim=1,
        operator_name="",
        claim_seats=(SEAT,),
        pid=7,
        command="hamid",
        steps=steps,
        entries=entries,
    )


@pytest.mark.parametrize(
    ("states", "complete"),
    [
        ((), False),
        ((EntryState.DONE,), False),
        ((EntryState.DONE, EntryState.BEGIN), False),
        ((EntryState.DONE, EntryState.OVER), False),
        ((EntryState.DONE, EntryState.DONE), True),
    ],
)
def test_a_run_is_complete_when_every_step_is_done(states, complete):
    """A step that was not begun, not ended, or taken back leaves the run incomplete."""
    entries = [entry(step, state=state) for step, state in zip((CREATE, DESTROY), states, strict=False)]
    assert run_of(*entries).complete is complete


def test_a_run_made_what_was_not_there_before():
    """Only creations on a seat where nothing lay count, not those of what existed, and no other steps."""
    assert newly_made(run_of(entry(CREATE), entry(DESTROY))) == {SEAT}
    assert newly_made(run_of(entry(CREATE, EXISTED), entry(DESTROY))) == frozenset()
