# SPDX-License-Identifier: Apache-2.0
"""The evidence that releases a claim, over any sequence of lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hamid.core.claims.checkpoint import Remembered, RememberedList
from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import Grant
from hamid.core.claims.release import (
    EndReason,
    PodEvidence,
    PodVerdicts,
    confirmed,
    is_leaving,
    is_over,
    judge,
    newest_of,
)
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
    """A claim is absent exactly when complete lists lacked its pod for 30 s."""
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
    """Exactly then, by complete lists and by others; a container of unknown state has not ended."""
    containers = tuple(Container(name=str(number), terminated=each) for number, each in enumerate(ended))
    pod = replace(POD, phase=phase, deleted=deleted, containers=containers)
    expected = phase in {"Succeeded", "Failed"} or (deleted and bool(ended) and all(ended))
    for complete in (True, False):
        assert bool(over(PodList(pods=(pod,), complete=complete)).over) is expected


def test_held_by_another_keeps_and_held_by_its_own_ended_pod_does_not():
    """Kubelet goes on listing what a terminal pod held; the same ids at another container mean that it runs."""
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
    """The owner becomes the container that kubelet names for exactly these ids, once its pod is known."""
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
    """Within 30 s a claim ends only if pods, holdings and cgroup all allow it, and the identity is known."""
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


TWIN = replace(OWNER, uid="t", name="twin", confirmed=False, sure=False)
ENDED_POD = replace(POD, phase="Failed")


@pytest.mark.parametrize(
    ("others", "listed", "complete", "ends"),
    [
        ((), (), True, True),
        ((TWIN,), (replace(POD, uid="t", name="twin"),), True, False),
        ((TWIN,), (replace(ENDED_POD, uid="t", name="twin"),), True, True),
        ((TWIN,), (), True, True),
        ((TWIN,), (), False, False),
        ((replace(TWIN, confirmed=True),), (replace(POD, uid="t", name="twin"),), True, True),
        ((replace(TWIN, request=ContainerRequest(count=2)),), (replace(POD, uid="t", name="twin"),), True, True),
    ],
)
def test_an_ended_pod_may_not_be_the_holder_while_its_twin_goes_on(others, listed, complete, ends):
    """Without kubelet's account a claim that may be another container's ends only when no such container runs."""
    mine = Claim(id=1, owner=replace(OWNER, confirmed=False, sure=False))
    claims = (mine, *(Claim(id=n, owner=other) for n, other in enumerate(others, start=2)), Claim(id=9))
    pods = PodList(pods=(ENDED_POD, *listed), complete=complete)
    unread = HoldingList(complete=False)
    assert (over(pods, unread, claims=claims).over.get(1) is EndReason.TERMINAL) is ends
    sure = (replace(mine, owner=replace(OWNER, confirmed=False, sure=True)), *claims[1:])
    assert over(pods, unread, claims=sure).over[1] is EndReason.TERMINAL


SILENT = PodList(complete=True, silent=True)
ANSWER = Remembered(
    pod_uid="u", container="main", resource=RESOURCE, device_ids=OWNER.device_ids, granted=Grant(claim=0)
)


@pytest.mark.parametrize(
    ("owner", "kept", "holdings", "counts"),
    [
        (OWNER, (), True, True),
        (OWNER, None, True, True),
        (replace(OWNER, confirmed=False), None, True, False),
        (OWNER, (), False, False),
        (OWNER, (ANSWER,), True, False),
        (OWNER, (replace(ANSWER, pod_uid="other"),), True, True),
        (replace(OWNER, uid="", name=""), (replace(ANSWER, pod_uid="other"),), True, False),
        (replace(OWNER, uid="", name=""), (), True, True),
    ],
)
def test_without_a_source_of_pods_kubelets_own_records_prove_absence(owner, kept, holdings, counts):
    """Complete holdings and a checkpoint without the ids start the wait; without a checkpoint a confirmation does."""
    remembered = NOTHING if kept is None else RememberedList(entries=kept, complete=True)
    seen = PodEvidence(pods=SILENT, holdings=HoldingList(complete=holdings), remembered=remembered)
    claim = Claim(id=1, owner=owner)
    found = judge((claim,), seen, PodVerdicts(), now=7.0, absent_seconds=30.0)
    assert dict(found.missing) == ({1: 7.0} if counts else {})
    later = judge((claim,), seen, PodVerdicts(missing={1: 7.0}), now=37.0, absent_seconds=30.0)
    assert dict(later.over) == ({1: EndReason.ABSENT} if counts else {})
    assert dict(later.missing) == ({} if counts else {1: 7.0})


@pytest.mark.parametrize(
    ("claim", "pods", "ended", "leaving"),
    [
        (Claim(id=1), PodList(complete=True), False, False),
        (Claim(id=1, owner=replace(OWNER, uid="", name="")), PodList(complete=True), False, False),
        (CLAIM, PodList(pods=(POD,), complete=True), False, False),
        (CLAIM, PodList(pods=(ENDED_POD,), complete=True), True, False),
        (CLAIM, PodList(pods=(replace(POD, deleted=True),), complete=True), False, False),
        (
            CLAIM,
            PodList(
                pods=(replace(POD, deleted=True, containers=(Container(name="main", terminated=True),)),), complete=True
            ),
            True,
            True,
        ),
        (CLAIM, PodList(complete=True), False, True),
        (CLAIM, PodList(complete=False), False, False),
        (CLAIM, SILENT, False, False),
    ],
)
def test_whether_a_claims_pod_is_over_or_about_to_be(claim, pods, ended, leaving):
    """Over is what the list says; leaving is also a pod that a complete list lacks, and never an unknown one's."""
    assert is_over(claim, pods) is ended
    assert is_leaving(claim, pods) is leaving


UNKNOWN = replace(OWNER, uid="", namespace="", name="", container="", confirmed=False, sure=False)


@pytest.mark.parametrize(
    ("owner", "entries", "pods", "expected"),
    [
        (UNKNOWN, (ANSWER,), (POD,), ("u", "ns", "job", "main", 0)),
        (UNKNOWN, (ANSWER,), (), ("u", "", "", "main", None)),
        (UNKNOWN, (replace(ANSWER, container="init"), ANSWER), (POD,), ("u", "ns", "job", "main", 0)),
        (UNKNOWN, (ANSWER, replace(ANSWER, pod_uid="other")), (POD,), None),
        (UNKNOWN, (replace(ANSWER, device_ids=("GPU-1-0", "GPU-1-1")),), (POD,), None),
        (UNKNOWN, (), (POD,), None),
        (OWNER, (replace(ANSWER, pod_uid="other"),), (POD,), None),
        (replace(OWNER, confirmed=False), (ANSWER,), (POD,), None),
        (TWIN, (ANSWER,), (POD,), ("u", "ns", "job", "main", 0)),
    ],
)
def test_the_checkpoint_names_the_owner_of_a_claim_that_is_not_sure(owner, entries, pods, expected):
    """One pod with exactly these ids becomes the owner; a sure or confirmed owner stays."""
    found = confirmed(owner, PodList(pods=pods, complete=True), (), RememberedList(entries=entries, complete=True))
    shown = found and (found.uid, found.namespace, found.name, found.container, found.index)
    assert shown == expected
    assert found is None or found.confirmed


def test_without_a_source_of_pods_a_holder_is_confirmed_by_name():
    """The names come from kubelet's account; the uid and the container's place stay unknown."""
    found = confirmed(UNKNOWN, SILENT, [HOLDING], NOTHING)
    assert found is not None
    assert (found.uid, found.namespace, found.name, found.container, found.index) == ("", "ns", "job", "main", None)


def test_of_pods_with_one_name_the_live_one_holds_the_ids():
    """A pod that ended and its successor may have the same name; two live ones tell nothing."""
    old, new = replace(POD, uid="old", phase="Failed"), replace(POD, uid="new")
    found = confirmed(UNKNOWN, PodList(pods=(old, new), complete=True), [HOLDING], NOTHING)
    assert found is not None
    assert found.uid == "new"
    assert confirmed(UNKNOWN, PodList(pods=(POD, new), complete=True), [HOLDING], NOTHING) is None


def test_an_id_speaks_for_the_claim_that_got_it_last():
    """Kubelet may hand out an id again before the older claim is released; operators' claims have no ids."""
    newer = Claim(id=5, owner=replace(OWNER, device_ids=("GPU-1-0", "GPU-1-1")))
    older = Claim(id=2, owner=replace(OWNER, device_ids=("GPU-1-0", "GPU-1-2")))
    assert newest_of([newer, Claim(id=7), older]) == {"GPU-1-0": 5, "GPU-1-1": 5, "GPU-1-2": 2}
