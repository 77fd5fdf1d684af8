# SPDX-License-Identifier: Apache-2.0
"""Whose pod is over: the evidence that releases a claim.

The law: a pod is over when it is terminal, deleted with all its containers ended, or missing from two complete lists
far enough apart; a list that may lack something proves nothing, and ids that kubelet says are held keep their claim.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims import Claim, PodOwner
from hamid.core.pods import Holding, HoldingList, Pod, PodList
from hamid.core.remembered import Remembered, RememberedList

_TERMINAL = frozenset({"Succeeded", "Failed"})


class Why(StrEnum):
    """What ended a claim; the values of hamid_releases_total."""

    TERMINAL = "terminal"
    DELETED = "deleted"
    ABSENT = "absent"


class Verdicts(Struct, frozen=True, kw_only=True):
    """Claims (by name) whose pod is over, and since when others are missing (on the caller's clock)."""

    over: Mapping[str, Why] = {}
    missing: Mapping[str, float] = {}


def judge(
    claims: Iterable[Claim],
    pods: PodList,
    holdings: HoldingList,
    remembered: RememberedList,
    missing: Mapping[str, float],
    *,
    now: float,
    absent_seconds: float,
) -> Verdicts:
    """The verdicts of now; `missing` is what the judgement before said of it."""
    by_uid = {pod.uid: pod for pod in pods.pods}
    over: dict[str, Why] = {}
    still: dict[str, float] = {}
    known = tuple(claims)
    newest = newest_of(known)
    for claim in known:
        owner = claim.owner
        if owner is None or claim.pending or _held(claim, owner, newest, by_uid, holdings.holdings):
            continue
        pod = by_uid.get(owner.uid) if owner.known else None
        if pod is not None:
            why = ending(pod)
            if why is not None and (holdings.complete or not _may_be_anothers(owner, known, pods)):
                over[claim.name] = why
            continue
        since = missing.get(claim.name)
        if not _proves_absence(owner, pods, holdings, remembered):
            # Neither here nor gone: the first complete list goes on counting.
            still |= {} if since is None else {claim.name: since}
        elif since is not None and now - since >= absent_seconds:
            over[claim.name] = Why.ABSENT
        else:
            still[claim.name] = now if since is None else since
    return Verdicts(over=over, missing=still)


def _may_be_anothers(owner: PodOwner, claims: Iterable[Claim], pods: PodList) -> bool:
    """True when two containers asked for the same at once, kubelet has not told which is which, and one goes on."""
    if owner.confirmed or owner.sure:
        return False
    others = [claim.owner for claim in claims if claim.owner is not None and claim.owner is not owner]
    alike = {each.uid for each in others if not each.confirmed and not each.sure and each.asked == owner.asked}
    listed = {pod.uid: pod for pod in pods.pods}
    return any(ending(listed[uid]) is None if uid in listed else not pods.complete for uid in alike)


def ending(pod: Pod) -> Why | None:
    """Why a pod that is listed is over, or None while it may run."""
    if pod.phase in _TERMINAL:
        return Why.TERMINAL
    ended = [each.terminated for each in pod.containers]
    return Why.DELETED if pod.deleted and ended and all(ended) else None


def _proves_absence(owner: PodOwner, pods: PodList, holdings: HoldingList, remembered: RememberedList) -> bool:
    """True when a list that would name the owner is complete: of pods, or where those do not tell, of holdings.

    Kubelet's list of holdings leaves out init containers, its checkpoint does not.
    """
    if owner.known and not pods.silent:
        return pods.complete
    if not holdings.complete:
        return False
    kept = remembered.of(owner.resource, owner.device_ids)
    return owner.confirmed if not remembered.complete else not any(_may_be(each, owner) for each in kept)


def _may_be(entry: Remembered, owner: PodOwner) -> bool:
    return not owner.known or entry.pod_uid == owner.uid


def newest_of(claims: Iterable[Claim]) -> dict[str, str]:
    """The claim (by name) to which each device id was given last: kubelet may give an id anew before we release it."""
    ordered = sorted((claim for claim in claims if claim.owner is not None), key=lambda claim: claim.number)
    return {each: claim.name for claim in ordered if claim.owner is not None for each in claim.owner.device_ids}


def _held(
    claim: Claim, owner: PodOwner, newest: Mapping[str, str], by_uid: Mapping[str, Pod], holdings: Sequence[Holding]
) -> bool:
    """True when kubelet says that a container holds these ids, unless that is the owner and its pod is over.

    Ids that were given anew speak for the newer claim alone.
    """
    ids = {each for each in owner.device_ids if newest[each] == claim.name}
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
    """The owner as kubelet's own account of the ids has it; None when it says nothing new."""
    return _listed(owner, pods, holdings) or _kept(owner, pods, remembered)


def _kept(owner: PodOwner, pods: PodList, remembered: RememberedList) -> PodOwner | None:
    """By the checkpoint, which knows init containers and pods that no list names; for an owner that is not sure."""
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
        confirmed=True,
    )


def _listed(owner: PodOwner, pods: PodList, holdings: Iterable[Holding]) -> PodOwner | None:
    ids = set(owner.device_ids)
    found = [each for each in holdings if each.resource == owner.resource and set(each.device_ids) == ids]
    same_pod = [each for each in found if (each.namespace, each.pod) == (owner.namespace, owner.name)]
    if not found or (owner.confirmed and same_pod):
        return None
    if same_pod:
        return _confirmed(owner, owner.uid, same_pod[0], container=owner.container)
    holder = found[-1]
    uids = [pod.uid for pod in pods.pods if (pod.namespace, pod.name) == (holder.namespace, holder.pod)]
    live = [pod.uid for pod in pods.pods if pod.uid in uids and ending(pod) is None]
    if len(live or uids) != 1 and not pods.silent:
        # Its pod is not in the list yet; the ids are held, which is what counts.
        return None
    return _confirmed(owner, (live or uids or [""])[0], holder, container=holder.container)


def _confirmed(owner: PodOwner, uid: str, holder: Holding, *, container: str) -> PodOwner:
    return replace(owner, uid=uid, namespace=holder.namespace, name=holder.pod, container=container, confirmed=True)
