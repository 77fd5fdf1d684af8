# SPDX-License-Identifier: Apache-2.0
"""Which container an Allocate is for, where no scheduler has said so: the one that waits for so many devices.

The law: kubelet admits pods one after the other and names none. If those that it may be ask for different things,
nobody guesses; if they ask for the same, any of them is right until kubelet tells who holds the ids.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from hamid.core.claims.asking import BadAsk, ask, asked_count
from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import Denial, DenialCode
from hamid.core.claims.identity import Identified, anonymous
from hamid.core.claims.release import ending
from hamid.core.config.config import Ambiguity, Config
from hamid.core.pods.pods import Container, Holding, HoldingList, Pod, PodList

Identify = Callable[[PodList, HoldingList, tuple[Claim, ...], Sequence[str]], Identified | Denial]
_MOST_NAMED = 8


class Waiting(Struct, frozen=True, kw_only=True):
    """A container that waits for its devices, and what it asks."""

    pod: Pod
    container: Container
    asked: ContainerRequest | BadAsk

    def __str__(self) -> str:
        return f"{self.pod.namespace}/{self.pod.name}/{self.container.name}"


def identify(
    pods: PodList, holdings: HoldingList, claims: Iterable[Claim], device_ids: Sequence[str], config: Config
) -> Identified | Denial:
    """The container, or why nobody can tell. Who was refused is meant only when nobody else waits."""
    if not pods.pods and not pods.complete:
        return Denial(
            code=DenialCode.NO_POD,
            message=f"nobody can say which container asks: {pods.problem or 'the list of pods is not complete'}",
            hint="see pods_source in docs/config.md",
        )
    everybody = list(waiting(pods, holdings, tuple(claims), device_ids, config))
    found = [each for each in everybody if each.pod.uid not in pods.refused] or everybody
    if not found:
        return Denial(
            code=DenialCode.NO_POD,
            message=f"no pod on this node waits for {len(device_ids)} of {config.resources.count}",
            hint=pods.problem or "it may have been deleted, or be missing from the list of pods",
        )
    by_age = sorted(found, key=lambda each: (each.pod.created is None, each.pod.created or 0.0, each.pod.uid))
    first = by_age[0]
    if any(each.asked != first.asked for each in found):
        if config.on_ambiguity is Ambiguity.REFUSE:
            return _ambiguous(found)
        first = by_age[-1] if config.on_ambiguity is Ambiguity.NEWEST else first
    if isinstance(first.asked, BadAsk):
        return Denial(code=DenialCode.BAD_REQUEST, message=first.asked.text, hint="mend the pod and create it anew")
    return Identified(pod=first.pod, container=first.container, asked=first.asked, sure=len(everybody) == 1)


def identifier(config: Callable[[], Config], *, known: Callable[[], bool]) -> Identify:
    """`identify` under the configuration of each moment; where no source of pods is `known`, everybody is anonymous."""

    def run(
        pods: PodList, holdings: HoldingList, claims: tuple[Claim, ...], device_ids: Sequence[str]
    ) -> Identified | Denial:
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
        if container is not None and asked_count(container, config) == len(device_ids):
            asked = ask(pod, container, config)
            if asked is not None:
                yield Waiting(pod=pod, container=container, asked=asked)


def _next(
    pod: Pod, held: Sequence[Holding], owners: Sequence[PodOwner], ids: Collection[str], config: Config
) -> Container | None:
    """The container of the pod whose turn it is: kubelet goes through them in order, init containers first."""
    asking = [each for each in pod.containers if asked_count(each, config) is not None]
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
    """Whom the same ids are for that one of the pod's containers was given, before kubelet has confirmed it.

    Kubelet gives an init container's ids to the next container that asks for as many. Should it be a repeat after all,
    that one's answer is the same.
    """
    given = {x.container for x in owners if x.uid == pod.uid and not x.confirmed and set(x.device_ids) == set(ids)}
    for place, container in enumerate(asking):
        if container.name in given and not (container.running or container.terminated):
            handed_on = asking[place + 1 :] if container.init and not container.restartable else ()
            return next((each for each in handed_on if asked_count(each, config) == len(ids)), container)
    return None


def _has_got(pod: Pod, container: Container, held: Sequence[Holding], owners: Sequence[PodOwner]) -> bool:
    if container.running or container.terminated:
        return True
    if any((each.namespace, each.pod, each.container) == (pod.namespace, pod.name, container.name) for each in held):
        return True
    return any((each.uid, each.container) == (pod.uid, container.name) for each in owners)


def _ambiguous(found: Sequence[Waiting]) -> Denial:
    return Denial(
        code=DenialCode.AMBIGUOUS,
        message=f"{len(found)} containers wait for as many devices and ask for different things",
        hint="let them start one after the other, or set on_ambiguity",
        reasons=tuple(f"{each}: {_words(each.asked)}" for each in found[:_MOST_NAMED]),
    )


def _words(asked: ContainerRequest | BadAsk) -> str:
    if isinstance(asked, BadAsk):
        return asked.text
    memory = "all memory" if asked.memory_mib is None else f"{asked.memory_mib} MiB"
    memory = memory if asked.memory_percent is None else f"{asked.memory_percent} % of the memory"
    mode = f", mode {asked.mode}" if asked.mode is not None else ""
    return f"{memory}, {asked.cores_percent} % of the cores{mode}"
