# SPDX-License-Identifier: Apache-2.0
"""Rebuilds claims after a lost ledger, from kubelet's copies of our answers and from NVML.

Invariant: until every instance is explained, nothing is destroyed and nothing new is granted. Each contradiction
between the records is a doubt, and one doubt is enough to wait.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from hamid.core.claims.checkpoint import Remembered, RememberedList
from hamid.core.claims.claim import Claim, ClaimedSeat, ClaimedShare, InstanceKey, PodOwner, seat_of
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import Grant
from hamid.core.claims.mig_grant import visible_devices
from hamid.core.claims.release import ending
from hamid.core.claims.share_grant import folder_of, shares_of
from hamid.core.claims.which_container import folder_name
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.planner.eligibility import is_served
from hamid.core.pods.pods import Holding, HoldingList, Pod, PodList


class AdoptedClaim(Struct, frozen=True, kw_only=True):
    """A claim to be written to the new ledger."""

    owner: PodOwner
    granted: Grant
    seats: tuple[ClaimedSeat, ...] = ()
    shares: tuple[ClaimedShare, ...] = ()


class Adoption(Struct, frozen=True, kw_only=True):
    """The claims that could be rebuilt, in the order of their grants, and the doubts that remain."""

    claims: tuple[AdoptedClaim, ...] = ()
    doubts: tuple[str, ...] = ()


def adopt(
    remembered: RememberedList,
    pods: PodList,
    holdings: HoldingList,
    gpus: Sequence[Gpu],
    claims: Iterable[Claim],
    *,
    resource: str,
    ours: bool,
    boot_id: str,
    now: float,
) -> Adoption:
    """Claims in addition to the known ones. `ours`: hamid made the instances and destroys them with their claims."""
    before = tuple(claims)
    known = {_key(claim.owner.uid, claim.owner.device_ids) for claim in before if claim.owner is not None}
    promised = {each.seat for claim in before for each in claim.seats}
    by_uid = {pod.uid: pod for pod in pods.pods}
    told = [each for each in remembered.entries if each.resource == resource]
    entries = [each for each in _latest(told, by_uid) if _key(each.pod_uid, each.device_ids) not in known]
    found = [
        _adopted(each, by_uid.get(each.pod_uid), _holder(each, holdings), gpus, ours=ours, boot_id=boot_id, now=now)
        for each in entries
    ]
    taken = [each for each in found if each.seats or each.shares]
    conflicts = list(_conflicts(taken, promised, by_uid))
    clear = tuple(
        each for each in taken if not promised & {x.seat for x in each.seats} and not _is_doubtful(each, taken, by_uid)
    )
    explained = {each for _, ids in known for each in ids} | {x for each in told for x in each.device_ids}
    doubts = [*_unread(remembered, holdings, resource), *_silent(gpus), *_unexplained(holdings, resource, explained)]
    return Adoption(claims=clear, doubts=(*doubts, *conflicts))


def _key(uid: str, device_ids: Sequence[str]) -> tuple[str, frozenset[str]]:
    return (uid, frozenset(device_ids))


def _latest(entries: Iterable[Remembered], by_uid: Mapping[str, Pod]) -> list[Remembered]:
    """One entry per pod and set of ids (init containers hand theirs on to app containers); live pods come last."""
    by_key: dict[tuple[str, frozenset[str]], Remembered] = {}
    for each in entries:
        key = _key(each.pod_uid, each.device_ids)
        if key not in by_key or not _is_init(by_uid.get(each.pod_uid), each.container):
            by_key[key] = each
    return sorted(by_key.values(), key=lambda each: _is_live(each.pod_uid, by_uid))


def _is_init(pod: Pod | None, container: str) -> bool:
    return pod is not None and any(each.init and each.name == container for each in pod.containers)


def _is_live(uid: str, by_uid: Mapping[str, Pod]) -> bool:
    return uid in by_uid and ending(by_uid[uid]) is None


def _holder(entry: Remembered, holdings: HoldingList) -> Holding | None:
    ids = set(entry.device_ids)
    return next(
        (
            each
            for each in holdings.holdings
            if (each.resource, each.container, set(each.device_ids)) == (entry.resource, entry.container, ids)
        ),
        None,
    )


def _adopted(
    entry: Remembered,
    pod: Pod | None,
    holder: Holding | None,
    gpus: Sequence[Gpu],
    *,
    ours: bool,
    boot_id: str,
    now: float,
) -> AdoptedClaim:
    uuids = visible_devices(entry.granted)
    seats = tuple(_seats(uuids, gpus, ours=ours))
    shares = () if seats else shares_of(entry.granted, uuids, gpus)
    memory = shares[0].memory_mib if shares else None
    owner = PodOwner(
        uid=entry.pod_uid,
        namespace=pod.namespace if pod else holder.namespace if holder else "",
        name=pod.name if pod else holder.pod if holder else "",
        container=entry.container,
        index=pod.index_of(entry.container) if pod else None,
        resource=entry.resource,
        device_ids=entry.device_ids,
        request=ContainerRequest(
            count=len(uuids), memory_mib=memory, cores_percent=shares[0].sm_percent if shares else 0
        ),
        folder=folder_of(entry.granted) or folder_name(entry.pod_uid, entry.container),
        confirmed=True,
        granted_at=now,
        boot_id=boot_id,
    )
    return AdoptedClaim(owner=owner, granted=entry.granted, seats=seats, shares=shares)


def _seats(uuids: Sequence[str], gpus: Iterable[Gpu], *, ours: bool) -> Iterator[ClaimedSeat]:
    by_uuid: dict[str | None, tuple[Gpu, Instance]] = {
        each.mig_uuid: (gpu, each) for gpu in gpus for each in gpu.instances
    }
    for uuid in uuids:
        # A missing instance cannot be claimed; PreStartContainer refuses to start its container.
        if uuid in by_uuid:
            gpu, each = by_uuid[uuid]
            yield ClaimedSeat(
                seat=seat_of(gpu, each), profile=each.profile, size=each.placement.size, made=ours, mig_uuid=uuid
            )


# -- doubts --


def _unread(remembered: RememberedList, holdings: HoldingList, resource: str) -> Iterator[str]:
    if remembered.complete:
        return
    if not holdings.complete:
        yield f"kubelet's records cannot be read: {remembered.problem}; {holdings.problem}"
    elif any(each.resource == resource for each in holdings.holdings):
        yield f"containers hold devices, but their records cannot be read: {remembered.problem}"


def _silent(gpus: Iterable[Gpu]) -> Iterator[str]:
    for gpu in gpus:
        if not is_served(gpu):
            yield f"GPU {gpu.index} cannot be read: {gpu.note}"


def _unexplained(holdings: HoldingList, resource: str, explained: set[str]) -> Iterator[str]:
    for each in holdings.holdings:
        strange = sorted(set(each.device_ids) - explained)
        if each.resource == resource and strange:
            yield f"container {each.namespace}/{each.pod}/{each.container} holds '{strange[0]}' for an unknown reason"


def _is_doubtful(one: AdoptedClaim, adopted: Sequence[AdoptedClaim], by_uid: Mapping[str, Pod]) -> bool:
    """True when it shares an instance with another claim and that claim's pod is live, or its own pod has ended."""
    mine = _is_live(one.owner.uid, by_uid)
    return any(
        other is not one and _meet(one, other) and _is_live(other.owner.uid, by_uid) >= mine for other in adopted
    )


def _conflicts(
    adopted: Sequence[AdoptedClaim], promised: Collection[InstanceKey], by_uid: Mapping[str, Pod]
) -> Iterator[str]:
    """Instances granted to two live containers; a container that has ended lost its instance to its successor."""
    live = [each for each in adopted if _is_live(each.owner.uid, by_uid)]
    for one in live:
        if _is_doubtful(one, live, by_uid) or any(each.seat in promised for each in one.seats):
            yield f"{one.owner} and another container were granted the same instance {one.seats[0].mig_uuid}"


def _meet(one: AdoptedClaim, other: AdoptedClaim) -> bool:
    return bool({each.seat for each in one.seats} & {each.seat for each in other.seats})
