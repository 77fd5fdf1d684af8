# SPDX-License-Identifier: Apache-2.0
"""The evidence that releases a claim, over any sequence of lists."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hamid.core.claims.checkpoint import RememberedList
from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.release import EndReason, PodEvidence, PodVerdicts, confirmed, judge
from hamid.core.pods.pods import Container, Holding, HoldingList, Pod, PodList

RESOURCE = "nvidia.com/gpu"
NOTHING = RememberedList(complete=False)
OWNER = PodOwner(
    uid="u",
    namespace="ns",
    name="job",
    container="main",
    resource=RESOURCE,
    device_ids=("GPU-1-0",),
    request=ContainerRequest(count=1),
    confirmed=True,
    granted_at=0.0,
    boot_id="boot",
)
CLAIM = Claim(id=1, owner=OWNER)
POD = Pod(uid="u", namespace="ns", name="job", phase="Running", containers=(Container(name="main", running=True),))
HOLDING = Holding(namespace="ns", pod="job", container="main", resource=RESOURCE, device_ids=("GPU-1-0",))
EVENTS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.floats(0, 40, allow_nan=False)), min_size=1, max_size=12
)


NOTHING_HELD = HoldingList(complete=True)
NO_VERDICTS = PodVerdicts()


def over(pods, holdings=NOTHING_HELD, before=NO_VERDICTS, *, now=0.0, claims=(CLAIM,)):
    seen = PodEvidence(pods=pods, holdings=holdings, remembered=NOTHING)
    return judge(claims, seen, before, now=now, absent_seconds=30.0)


@given(EVENTS)
def test_absence_takes_two_complete_lists_and_none_between_that_has_the_pod(events):
    """Whatever lists come: a claim is absent exactly when complete ones lacked its pod for 30 s."""
    before, now, since = PodVerdicts(), 0.0, None
    for complete, present, held, passed in events:
        now += passed
        pods = PodList(pods=(POD,) if present else (), complete=complete)
        holdings = HoldingList(holdings=(HOLDING,) if held else (), complete=complete)
        before = found = over(pods, holdings, before, now=now)
        if present or held:
            since = None
        elif complete and since is None:
            since = now
        absent = complete and not present and not held and since is not None and now - since >= 30.0
        assert dict(found.over) == ({CLAIM.id: EndReason.ABSENT} if absent else {})
        if absent:
            return


@given(
    st.sampled_from(["Pending", "Running", "Unknown", "Succeeded", "Failed", ""]),
    st.booleans(),
    st.lists(st.sampled_from([True, False, None]), max_size=3),
)
def test_a_listed_pod_is_over_when_terminal_or_deleted_with_all_ended(phase, deleted, ended):
    """Exactly then, by complete lists and by others; a container whose state nobody tells has not ended."""
    containers = tuple(Container(name=str(number), terminated=each) for number, each in enumerate(ended))
    pod = replace(POD, phase=phase, deleted=deleted, containers=containers)
    expected = phase in {"Succeeded", "Failed"} or (deleted and bool(ended) and all(ended))
    for complete in (True, False):
        assert bool(over(PodList(pods=(pod,), complete=complete)).over) is expected


def test_held_by_another_keeps_and_held_by_its_own_ended_pod_does_not():
    """Kubelet goes on listing what a terminal pod held; the same ids at another container are somebody's work."""
    ended = PodList(pods=(replace(POD, phase="Failed"),), complete=True)
    mine = HoldingList(holdings=(HOLDING,), complete=True)
    others = HoldingList(holdings=(replace(HOLDING, pod="other"),), complete=True)
    assert over(ended, mine).over
    assert not over(ended, others).over
    newer = Claim(id=2, owner=replace(OWNER, uid="o", name="other"))
    assert dict(over(ended, others, claims=(newer, CLAIM)).over) == {CLAIM.id: EndReason.TERMINAL}


def test_operators_and_pending_claims_are_nobodys_to_judge():
    """Neither an operator's claim nor one that is being made ends by lists of pods."""
    gone = PodList(complete=True)
    for claim in (Claim(id=1, operator_name="training"), replace(CLAIM, pending=True)):
        assert over(gone, claims=(claim,), before=PodVerdicts(missing={claim.id: -100.0})) == over(gone, claims=())


@given(st.lists(st.sampled_from(["job", "twin", "third"]), unique=True), st.booleans())
def test_confirmation_names_the_holder_or_nobody(listed, own):
    """The owner becomes whoever kubelet says holds exactly these ids, once his pod is known; never anybody else."""
    pods = PodList(pods=tuple(replace(POD, uid=f"u-{name}", name=name) for name in listed), complete=True)
    holder = "job" if own else "twin"
    owner = replace(OWNER, uid="u-job", confirmed=False)
    found = confirmed(owner, pods, [replace(HOLDING, pod=holder)], NOTHING)
    if holder == "job" or holder in listed:
        assert found is not None
        assert (found.name, found.uid, found.confirmed) == (holder, f"u-{holder}", True)
        assert confirmed(found, pods, [replace(HOLDING, pod=holder)], NOTHING) is None
    else:
        assert found is None
    assert confirmed(owner, pods, [replace(HOLDING, device_ids=("GPU-1-0", "GPU-1-1"))], NOTHING) is None


LISTS = st.builds(
    PodEvidence,
    pods=st.builds(
        PodList,
        complete=st.booleans(),
        pods=st.sampled_from(
            [
                (),
                (POD,),
                (replace(POD, deleted=True),),
                (replace(POD, deleted=True, containers=(Container(name="main", running=False),)),),
            ]
        ),
    ),
    holdings=st.builds(HoldingList, complete=st.booleans(), holdings=st.sampled_from([(), (HOLDING,)])),
    remembered=st.just(NOTHING),
    cgroup_gone=st.sampled_from([{}, {"u": True}, {"u": False}]),
)


@given(st.lists(LISTS, min_size=1, max_size=6), st.booleans())
def test_a_pod_ends_before_its_absence_is_proven_only_when_kubelet_has_freed_its_ids(lists, confirmed):
    """Within 30 s, whatever is seen: only where pods, holdings and cgroup all allow it, and the identity is known."""
    before = PodVerdicts()
    claim = replace(CLAIM, owner=replace(OWNER, confirmed=confirmed, sure=False))
    deleted = False
    for seen in lists:
        before = judge((claim,), seen, before, now=0.0, absent_seconds=30.0)
        listed = seen.pods.pods[0] if seen.pods.pods else None
        deleted = listed.deleted if listed else deleted
        freed = seen.holdings.complete and not seen.holdings.holdings and confirmed
        if listed is None:
            expected = freed and seen.pods.complete and seen.cgroup_gone.get("u", deleted)
        else:
            expected = freed and listed.deleted and seen.cgroup_gone.get("u", not listed.containers[0].running)
        assert dict(before.over) == ({claim.id: EndReason.DELETED} if expected else {})
