# SPDX-License-Identifier: Apache-2.0
"""Decides whose pod is over: the evidence that releases a claim.

Invariant: a pod is over when it is terminal, deleted with all its containers ended, or missing from two complete lists
far enough apart. An incomplete list proves nothing, and ids that kubelet reports as held keep their claim. Evidence
that a missing pod was deleted makes the second list unnecessary (docs/decisions/0006).
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims.checkpoint import Remembered, RememberedList
from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.pods.pods import Holding, HoldingList, Pod, PodList

_TERMINAL = frozenset({"Succeeded", "Failed"})


class EndReason(StrEnum):
    """What ended a claim; the values of hamid_releases_total."""

    TERMINAL = "terminal"
    DELETED = "deleted"
    ABSENT = "absent"


class PodVerdicts(Struct, frozen=True, kw_only=True):
    """Claims (by id) whose pod is over; since when others are missing (on the caller's clock).

    `leaving` are the pods (by uid) of claims that a list has shown as deleted.
    """

    over: Mapping[int, EndReason] = {}
    missing: Mapping[int, float] = {}
    leaving: frozenset[str] = frozenset()


class PodEvidence(Struct, frozen=True, kw_only=True):
    """What is known of the pods at one moment.

    `cgroup_gone`: whether kubelet has removed a pod's cgroup (by uid), as it does when nothing of the pod is left. A
    pod that was never seen with a cgroup has no entry.
    """

    pods: PodList
    holdings: HoldingList
    remembered: RememberedList
    cgroup_gone: Mapping[str, bool] = {}


def judge(
    claims: Iterable[Claim], seen: PodEvidence, before: PodVerdicts, *, now: float, absent_seconds: float
) -> PodVerdicts:
    """The current verdicts; `before` are the previous ones."""
    by_uid = {pod.uid: pod for pod in seen.pods.pods}
    over: dict[int, EndReason] = {}
    missing: dict[int, float] = {}
    known = tuple(claims)
    newest = newest_of(known)
    leaving = _leaving(known, by_uid, before)
    for claim in known:
        owner = claim.owner
        if owner is None or claim.pending or _held(claim, owner, newest, by_uid, seen.holdings.holdings):
            continue
        pod = by_uid.get(owner.uid) if owner.known else None
        why = _listed_and_over(owner, pod, known, seen) if pod is not None else _gone(owner, leaving, seen)
        since = before.missing.get(claim.id)
        if why is not None:
            over[claim.id] = why
        elif pod is None and not _proves_absence(owner, seen):
            # Neither listed nor proven absent: the time of the first complete list stays.
            missing |= {} if since is None else {claim.id: since}
        elif pod is None and since is not None and now - since >= absent_seconds:
            over[claim.id] = EndReason.ABSENT
        elif pod is None:
            missing[claim.id] = now if since is None else since
    return PodVerdicts(over=over, missing=missing, leaving=leaving)


def _leaving(claims: Iterable[Claim], by_uid: Mapping[str, Pod], before: PodVerdicts) -> frozenset[str]:
    owners = {claim.owner.uid for claim in claims if claim.owner is not None and claim.owner.known}
    return frozenset(uid for uid in owners if (by_uid[uid].deleted if uid in by_uid else uid in before.leaving))


def _listed_and_over(owner: PodOwner, pod: Pod, claims: Iterable[Claim], seen: PodEvidence) -> EndReason | None:
    """Why a pod that is listed is over.

    A deleted pod is also over when kubelet counts its ids as free and nothing of it runs: the list does not update its
    containers while kubelet waits for an Allocate.
    """
    why = ending(pod)
    if why is not None:
        return why if seen.holdings.complete or not _may_be_anothers(owner, claims, seen.pods) else None
    if not pod.deleted or not _is_freed(owner, seen):
        return None
    stopped = bool(pod.containers) and all(each.running is False for each in pod.containers)
    return EndReason.DELETED if seen.cgroup_gone.get(pod.uid, stopped) else None


def _gone(owner: PodOwner, leaving: Iterable[str], seen: PodEvidence) -> EndReason | None:
    """Why an unlisted pod counts as deleted: kubelet removed its cgroup, or without one, a list showed it deleted."""
    if not owner.known or not seen.pods.complete or not _is_freed(owner, seen):
        return None
    return EndReason.DELETED if seen.cgroup_gone.get(owner.uid, owner.uid in leaving) else None


def _is_freed(owner: PodOwner, seen: PodEvidence) -> bool:
    """True when kubelet's records are complete, so they would name this owner's ids, and the owner is certain."""
    return seen.holdings.complete and (owner.confirmed or owner.sure)


def _may_be_anothers(owner: PodOwner, claims: Iterable[Claim], pods: PodList) -> bool:
    """True when another container with an equal request may still run and kubelet has not told the two apart."""
    if owner.confirmed or owner.sure:
        return False
    others = [claim.owner for claim in claims if claim.owner is not None and claim.owner is not owner]
    alike = {each.uid for each in others if not each.confirmed and not each.sure and each.request == owner.request}
    listed = {pod.uid: pod for pod in pods.pods}
    return any(ending(listed[uid]) is None if uid in listed else not pods.complete for uid in alike)


def ending(pod: Pod) -> EndReason | None:
    """Why a pod that is listed is over, or None while it may run."""
    if pod.phase in _TERMINAL:
        return EndReason.TERMINAL
    ended = [each.terminated for each in pod.containers]
    return EndReason.DELETED if pod.deleted and ended and all(ended) else None


def is_over(claim: Claim, pods: PodList) -> bool:
    """True when the list says that the claim's pod is over."""
    pod = _pod_of(claim, pods)
    return pod is not None and ending(pod) is not None


def is_leaving(claim: Claim, pods: PodList) -> bool:
    """True when the claim's pod is missing from a complete list, or was deleted and nothing of it runs."""
    if claim.owner is None or not claim.owner.known:
        return False
    pod = _pod_of(claim, pods)
    if pod is None:
        return pods.complete and not pods.silent
    return pod.deleted and not any(each.running for each in pod.containers)


def _pod_of(claim: Claim, pods: PodList) -> Pod | None:
    uid = claim.owner.uid if claim.owner is not None and claim.owner.known else None
    return next((pod for pod in pods.pods if pod.uid == uid), None)


def _proves_absence(owner: PodOwner, seen: PodEvidence) -> bool:
    """True when the list that would name the owner is complete: of pods, or without a pod source, of holdings.

    Kubelet's list of holdings omits init containers, its checkpoint does not.
    """
    if owner.known and not seen.pods.silent:
        return seen.pods.complete
    if not seen.holdings.complete:
        return False
    kept = seen.remembered.of(owner.resource, owner.device_ids)
    return owner.confirmed if not seen.remembered.complete else not any(_may_be(each, owner) for each in kept)


def _may_be(entry: Remembered, owner: PodOwner) -> bool:
    return not owner.known or entry.pod_uid == owner.uid


def newest_of(claims: Iterable[Claim]) -> dict[str, int]:
    """The latest claim (by id) on each device id: kubelet may assign an id again before hamid releases it."""
    ordered = sorted((claim for claim in claims if claim.owner is not None), key=lambda claim: claim.id)
    return {each: claim.id for claim in ordered if claim.owner is not None for each in claim.owner.device_ids}


def _held(
    claim: Claim, owner: PodOwner, newest: Mapping[str, int], by_uid: Mapping[str, Pod], holdings: Sequence[Holding]
) -> bool:
    """True when kubelet says that a container holds these ids, unless that is the owner and its pod is over.

    Ids that were assigned again count only for the newer claim.
    """
    ids = {each for each in owner.device_ids if newest[each] == claim.id}
    own = by_uid.get(owner.uid)
    own_is_over = own is not None and ending(own) is not None
    for each in holdings:
        if each.resource != owner.resource or not ids & set(each.device_ids):
            continue
        if not (own_is_over and (each.namespace, each.pod) == (owner.namespace, owner.name)):
            return True
    return False


def confirmed(
    owner: PodOwner, pods: PodList, holdings: Iterable[Holding], remembered: RememberedList
) -> PodOwner | None:
    """The owner according to kubelet's records of the ids; None when they say nothing new."""
    return _listed(owner, pods, holdings) or _kept(owner, pods, remembered)


def _kept(owner: PodOwner, pods: PodList, remembered: RememberedList) -> PodOwner | None:
    """From the checkpoint, which knows init containers and unlisted pods; for an owner that is not sure."""
    kept = [x for x in remembered.of(owner.resource, owner.device_ids) if set(x.device_ids) == set(owner.device_ids)]
    uids = {each.pod_uid for each in kept}
    if len(uids) != 1 or (owner.known and (owner.sure or owner.confirmed)):
        return None
    pod = next((pod for pod in pods.pods if pod.uid in uids), None)
    return replace(
        owner,
        uid=uids.pop(),
        namespace=pod.namespace if pod else owner.namespace,
        name=pod.name if pod else owner.name,
        container=kept[-1].container,
        index=pod.index_of(kept[-1].container) if pod else None,
        confirmed=True,
    )


def _listed(owner: PodOwner, pods: PodList, holdings: Iterable[Holding]) -> PodOwner | None:
    ids = set(owner.device_ids)
    found = [each for each in holdings if each.resource == owner.resource and set(each.device_ids) == ids]
    same_pod = [each for each in found if (each.namespace, each.pod) == (owner.namespace, owner.name)]
    if not found or (owner.confirmed and same_pod):
        return None
    holder = (same_pod or found)[-1]
    if same_pod:
        # Kubelet records an init container's devices under the name of the container that follows it.
        return _confirmed(owner, owner.uid, holder, pods)
    uids = [pod.uid for pod in pods.pods if (pod.namespace, pod.name) == (holder.namespace, holder.pod)]
    live = [pod.uid for pod in pods.pods if pod.uid in uids and ending(pod) is None]
    if len(live or uids) != 1 and not pods.silent:
        # Its pod is not in the list yet; the ids are held, so the claim stays.
        return None
    return _confirmed(owner, (live or uids or [""])[0], holder, pods)


def _confirmed(owner: PodOwner, uid: str, holder: Holding, pods: PodList) -> PodOwner:
    pod = next((pod for pod in pods.pods if pod.uid == uid), None)
    return replace(
        owner,
        uid=uid,
        namespace=holder.namespace,
        name=holder.pod,
        container=holder.container,
        index=pod.index_of(holder.container) if pod is not None else None,
        confirmed=True,
    )
