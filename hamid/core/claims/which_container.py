# SPDX-License-Identifier: Apache-2.0
"""Finds the container that an Allocate call is for, and whether the call was answered before.

Kubelet admits pods one after the other and does not name the pod. Invariant: if the candidates' requests differ,
hamid does not guess; if they are equal, any candidate is right until kubelet reports which one holds the ids.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import StrEnum

from msgspec import Struct

from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.container_request import ContainerRequest, InvalidRequest, device_count, read_request
from hamid.core.claims.release import ending
from hamid.core.config.config import Ambiguity, Config
from hamid.core.planner.refusal import Ambiguous, InvalidPod, NoPodWaits, PodsUnknown, Refusal
from hamid.core.pods.pods import Container, Holding, HoldingList, Pod, PodList

_MOST_NAMED = 8
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)


class Identified(Struct, frozen=True, kw_only=True):
    """The container and its request; `pod` and `container` are None where the pods are unknown.

    Not `sure`: other containers with an equal request wait too, and it may be any of them.
    """

    pod: Pod | None
    container: Container | None
    request: ContainerRequest
    sure: bool = True

    def owner(
        self, *, resource: str, device_ids: Sequence[str], granted_at: float, boot_id: str, token: str
    ) -> PodOwner:
        """It as the owner of a claim; `token` stands for an unknown pod in the name of its directory."""
        folder = folder_name(self.pod.uid, self.container.name) if self.pod and self.container else ""
        return PodOwner(
            uid=self.pod.uid if self.pod else "",
            namespace=self.pod.namespace if self.pod else "",
            name=self.pod.name if self.pod else "",
            container=self.container.name if self.container else "",
            index=self.pod.index_of(self.container.name) if self.pod and self.container else None,
            resource=resource,
            device_ids=tuple(device_ids),
            request=self.request,
            folder=folder or f"unidentified-{token}",
            sure=self.sure,
            granted_at=granted_at,
            boot_id=boot_id,
        )


def anonymous(config: Config, count: int) -> Identified:
    """An unidentified container gets the configured defaults."""
    request = ContainerRequest(
        count=count, memory_mib=config.default_memory_mib or None, cores_percent=config.default_cores_percent
    )
    return Identified(pod=None, container=None, request=request)


Identify = Callable[[PodList, HoldingList, tuple[Claim, ...], Sequence[str]], Identified | Refusal]


class Waiting(Struct, frozen=True, kw_only=True):
    """A container that waits for its devices, and its request."""

    pod: Pod
    container: Container
    request: ContainerRequest | InvalidRequest

    def __str__(self) -> str:
        return f"{self.pod.namespace}/{self.pod.name}/{self.container.name}"


def identify(
    pods: PodList, holdings: HoldingList, claims: Iterable[Claim], device_ids: Sequence[str], config: Config
) -> Identified | Refusal:
    """The container, or why it is unknown. A refused pod is considered only when no other pod waits."""
    if not pods.pods and not pods.complete:
        return Refusal(facts=PodsUnknown(pods.problem))
    candidates = list(waiting(pods, holdings, tuple(claims), device_ids, config))
    found = [each for each in candidates if each.pod.uid not in pods.refused] or candidates
    if not found:
        return Refusal(facts=NoPodWaits(len(device_ids), config.resources.count, pods.problem))
    by_age = sorted(found, key=lambda each: (each.pod.created is None, each.pod.created or 0.0, each.pod.uid))
    first = by_age[0]
    if any(each.request != first.request for each in found):
        if config.on_ambiguity is Ambiguity.REFUSE:
            return _ambiguous(found)
        first = by_age[-1] if config.on_ambiguity is Ambiguity.NEWEST else first
    if isinstance(first.request, InvalidRequest):
        return Refusal(facts=InvalidPod(first.request.text))
    return Identified(pod=first.pod, container=first.container, request=first.request, sure=len(candidates) == 1)


def identifier(config: Callable[[], Config], *, known: Callable[[], bool]) -> Identify:
    """`identify` under the configuration of each moment; without a `known` source of pods, all are anonymous."""

    def run(
        pods: PodList, holdings: HoldingList, claims: tuple[Claim, ...], device_ids: Sequence[str]
    ) -> Identified | Refusal:
        if not known():
            return anonymous(config(), len(device_ids))
        return identify(pods, holdings, claims, device_ids, config())

    return run


def waiting(
    pods: PodList, holdings: HoldingList, claims: Sequence[Claim], device_ids: Sequence[str], config: Config
) -> Iterator[Waiting]:
    """Every container that these ids may be for; at most one of a pod, since kubelet goes through it in order."""
    resource = config.resources.count
    held = [each for each in holdings.holdings if each.resource == resource]
    owners = [each.owner for each in claims if each.owner is not None and each.owner.resource == resource]
    for pod in pods.pods:
        if pod.deleted or ending(pod) is not None:
            continue
        container = _next(pod, held, owners, set(device_ids), config)
        if container is None or device_count(container, config) != len(device_ids):
            continue
        if (request := read_request(pod, container, config)) is not None:  # pragma: no branch: it has a count
            yield Waiting(pod=pod, container=container, request=request)


def _next(
    pod: Pod, held: Sequence[Holding], owners: Sequence[PodOwner], ids: Collection[str], config: Config
) -> Container | None:
    """The container of the pod whose turn it is: kubelet goes through them in order, init containers first."""
    asking = [each for each in pod.containers if device_count(each, config) is not None]
    again = _again(pod, asking, owners, ids, config)
    if again is not None:
        return again
    turn = 0
    for place, container in enumerate(asking):
        if _has_got(pod, container, held, owners):
            turn = place + 1
    return asking[turn] if turn < len(asking) else None


def _again(
    pod: Pod, asking: Sequence[Container], owners: Sequence[PodOwner], ids: Collection[str], config: Config
) -> Container | None:
    """The container for ids that one of the pod's containers was already granted and kubelet has not confirmed.

    Kubelet gives an init container's ids to the next container that requests as many. If the call is a repeat after
    all, the answer is the same.
    """
    given = {x.container for x in owners if x.uid == pod.uid and not x.confirmed and set(x.device_ids) == set(ids)}
    for place, container in enumerate(asking):
        if container.name in given and not (container.running or container.terminated):
            handed_on = asking[place + 1 :] if container.init and not container.restartable else ()
            return next((each for each in handed_on if device_count(each, config) == len(ids)), container)
    return None


def _has_got(pod: Pod, container: Container, held: Sequence[Holding], owners: Sequence[PodOwner]) -> bool:
    if container.running or container.terminated:
        return True
    if any((each.namespace, each.pod, each.container) == (pod.namespace, pod.name, container.name) for each in held):
        return True
    return any((each.uid, each.container) == (pod.uid, container.name) for each in owners)


def _ambiguous(found: Sequence[Waiting]) -> Refusal:
    named = tuple((str(each), _words(each.request)) for each in found[:_MOST_NAMED])
    return Refusal(facts=Ambiguous(len(found), named))


def _words(request: ContainerRequest | InvalidRequest) -> str:
    if isinstance(request, InvalidRequest):
        return request.text
    memory = "all memory" if request.memory_mib is None else f"{request.memory_mib} MiB"
    memory = memory if request.memory_percent is None else f"{request.memory_percent} % of the memory"
    mode = f", mode {request.mode}" if request.mode is not None else ""
    return f"{memory}, {request.cores_percent} % of the cores{mode}"


# -- whether it was answered before --


class Again(StrEnum):
    """What an earlier claim on the same ids means: the call is repeated, or an init container's ids are handed on."""

    REPEAT = "repeat"
    HAND_ON = "hand-on"


def seen_before(
    claims: Iterable[Claim], identified: Identified, *, resource: str, device_ids: Sequence[str]
) -> tuple[Again, Claim] | None:
    """The earlier claim that also answers this call, and how; None for a new call.

    Kubelet gives an init container's devices to the containers that come after it in the same pod.
    """
    ids = set(device_ids)
    for claim in claims:
        owner = claim.owner
        if owner is None or owner.resource != resource or set(owner.device_ids) != ids or claim.pending:
            continue
        if _same_container(owner, identified):
            if not owner.confirmed:
                return (Again.REPEAT, claim)
        elif _follows(owner, identified) and owner.request == identified.request:
            return (Again.HAND_ON, claim)
    return None


def _same_container(owner: PodOwner, identified: Identified) -> bool:
    if identified.pod is None or identified.container is None:
        return not owner.known
    return (owner.uid, owner.container) == (identified.pod.uid, identified.container.name)


def _follows(owner: PodOwner, identified: Identified) -> bool:
    """True when the owner is an init container of the same pod that ends before this one starts."""
    pod = identified.pod
    if pod is None or owner.uid != pod.uid:
        return False
    return any(each.name == owner.container and each.init and not each.restartable for each in pod.containers)


def started_by(claims: Iterable[Claim], device_ids: Sequence[str]) -> tuple[Claim, ...]:
    """The claims behind the start of a container with these ids: the one that got them last, if they match."""
    found = [claim for claim in of_claim(claims, device_ids) if not claim.pending]
    same = [claim for claim in found if claim.owner and set(claim.owner.device_ids) == set(device_ids)]
    return (max(same, key=lambda claim: claim.id),) if same else tuple(found)


def of_claim(claims: Iterable[Claim], device_ids: Sequence[str]) -> tuple[Claim, ...]:
    """The claims that hold one of these ids."""
    ids = set(device_ids)
    return tuple(each for each in claims if each.owner is not None and ids & set(each.owner.device_ids))


# -- its directory --


def folder_name(uid: str, container: str) -> str:
    """The name of a container's directory; empty if it would not be a safe name."""
    name = f"{uid}_{container}"
    return name if is_folder_name(name) else ""


def is_folder_name(name: str) -> bool:
    """False for a name that could escape the directory; names come from untrusted input."""
    return _FOLDER.fullmatch(name) is not None
