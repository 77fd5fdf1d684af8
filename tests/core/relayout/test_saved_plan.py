# SPDX-License-Identifier: Apache-2.0
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.values import gpu, instance, profile_of

from hamid.core.errors import UsageError
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import CreateInstance, DestroyInstance, SetMigMode, create, destroy, switch_mode
from hamid.core.relayout.saved_plan import SavedPlan, SavedSeat, decode_plan, encode_plan

GPU = gpu()
SEAT = Seat(profile_of(GPU, "1g.5gb"), Placement(3, 1))
PLAN = SavedPlan(
    simulated=True,
    fingerprint="f",
    claim="training",
    claim_instances=(SavedSeat(gpu_uuid=GPU.uuid, profile_id=19, start=3),),
    steps=(switch_mode(GPU, enabled=True), destroy(GPU, instance(GPU, "2g.10gb", 0)), create(GPU, SEAT)),
)
NUMBERS = st.integers(0, 1023)
PLACES = st.builds(Placement, NUMBERS, NUMBERS)
FIELDS = {"gpu_uuid": st.text(max_size=5), "gpu_index": NUMBERS}
PLACED = {**FIELDS, "profile": st.text(max_size=5), "profile_id": NUMBERS, "placement": PLACES}
STEPS = (
    st.builds(SetMigMode, **FIELDS, enabled=st.booleans())
    | st.builds(CreateInstance, **PLACED)
    | st.builds(DestroyInstance, **PLACED, mig_uuid=st.none() | st.text(max_size=5))
)


@given(st.lists(STEPS, max_size=4).map(tuple), st.booleans())
def test_a_plan_reads_back_as_it_was_written(steps, claims):
    """Every kind of step with any legal number survives the file."""
    claim = (PLAN.claim, PLAN.claim_instances) if claims else (None, ())
    plan = replace(PLAN, steps=steps, claim=claim[0], claim_instances=claim[1])
    assert decode_plan(encode_plan(plan), "/f") == plan


def test_the_whole_file_of_a_plan():
    """Its kind comes with its steps by name, and an operator can read it."""
    content = encode_plan(PLAN)
    assert content.endswith(b"\n}\n")
    assert json.loads(content) == {
        "apiVersion": "hami.io/v1",
        "kind": "MigSavedPlan",
        "simulated": True,
        "fingerprint": "f",
        "claim": "training",
        "claimInstances": [{"gpu_uuid": GPU.uuid, "profile_id": 19, "start": 3}],
        "steps": [
            {"type": "SetMigMode", "gpu_uuid": GPU.uuid, "gpu_index": 0, "enabled": True},
            {
                "type": "DestroyInstance",
                "gpu_uuid": GPU.uuid,
                "gpu_index": 0,
                "profile": "2g.10gb",
                "profile_id": 14,
                "placement": {"start": 0, "size": 2},
                "mig_uuid": "MIG-0-2g.10gb-0",
            },
            {
                "type": "CreateInstance",
                "gpu_uuid": GPU.uuid,
                "gpu_index": 0,
                "profile": "1g.5gb",
                "profile_id": 19,
                "placement": {"start": 3, "size": 1},
            },
        ],
    }


TWICE = PLAN.claim_instances * 2
STEP = create(GPU, SEAT)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": (replace(STEP, gpu_index=-1),)}, "a number is outside 0..1023 - at `$.steps[0]`"),
        ({"steps": (STEP, replace(STEP, profile_id=1024))}, "a number is outside 0..1023 - at `$.steps[1]`"),
        ({"steps": (replace(STEP, placement=Placement(-1, 1)),)}, "a number is outside 0..1023 - at `$.steps[0]`"),
        ({"steps": (replace(STEP, placement=Placement(0, 1024)),)}, "a number is outside 0..1023 - at `$.steps[0]`"),
        ({"steps": (replace(PLAN.steps[0], gpu_index=1024),)}, "a number is outside 0..1023 - at `$.steps[0]`"),
        (
            {"claim_instances": (SavedSeat(gpu_uuid="", profile_id=-1, start=0),)},
            "a number is outside 0..1023 - at `$.claimInstances[0]`",
        ),
        (
            {"claim_instances": (SavedSeat(gpu_uuid="", profile_id=0, start=1024),)},
            "a number is outside 0..1023 - at `$.claimInstances[0]`",
        ),
        ({"claim_instances": TWICE}, "an instance is claimed twice - at `$.claimInstances`"),
        ({"claim_instances": ()}, "a claim needs instances, and instances need a claim - at `$.claim`"),
        ({"claim": None}, "a claim needs instances, and instances need a claim - at `$.claim`"),
        ({"claim": "a/b"}, "'a/b' is not a valid claim name - at `$.claim`"),
    ],
)
def test_what_no_saved_plan_says_is_refused(changed, words):
    """A number beyond any GPU, a claim without instances or with one twice: the error says where."""
    with pytest.raises(UsageError) as caught:
        decode_plan(encode_plan(replace(PLAN, **changed)), "/f")
    assert caught.value.message == f"'/f' is not a saved plan: {words}"


GOOD = json.loads(encode_plan(PLAN))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"kind": "\xff"}',
        b"[" * 100_000,
        json.dumps({**GOOD, "kind": "MigPlan"}).encode(),
        json.dumps({**GOOD, "apiVersion": "hami.io/v2"}).encode(),
        json.dumps({**GOOD, "more": 1}).encode(),
        json.dumps({**GOOD, "steps": [{"type": "Reboot"}]}).encode(),
        json.dumps({name: value for name, value in GOOD.items() if name != "claim"}).encode(),
    ],
    ids=range(11),
)
def test_a_file_that_is_no_saved_plan_is_refused(content):
    """Half a file, another document, a newer version, or a key more or less is never carried out."""
    with pytest.raises(UsageError, match="'/f' is not a saved plan") as caught:
        decode_plan(content, "/f")
    assert caught.value.hint == "create one with: hamictl mig apply ... --out FILE"


@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda text: msgspec.json.encode({"steps": text})))
def test_no_file_makes_the_reader_fail(content):
    """For any content of the file the answer is a plan or a usage error."""
    with pytest.raises(UsageError):
        decode_plan(content, "/f")
