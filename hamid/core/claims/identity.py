# SPDX-License-Identifier: Apache-2.0
"""Which container an Allocate is for, and whether it was answered before.

The law: kubelet names no pod; what is concluded from pods and requests is provisional until kubelet tells who holds
the ids.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct

from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.config.config import Config
from hamid.core.pods.pods import Container, Pod

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)


def folder_name(uid: str, container: str) -> str:
    """What a container's directory is called; nothing where that would be no plain name."""
    name = f"{uid}_{container}"
    return name if is_folder_name(name) else ""


def is_folder_name(name: str) -> bool:
    """False for what could lead out of the directory: it comes from outside."""
    return _FOLDER.fullmatch(name) is not None


class Identified(Struct, frozen=True, kw_only=True):
    """The container and what it asks; `pod` and `container` are None where nobody knows the pods.

    Not `sure`: others that ask for the same wait too, and it may be any of them.
    """

    pod: Pod | None
    container: Container | None
    asked: ContainerRequest
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
            asked=self.asked,
            folder=folder or f"unidentified-{token}",
            sure=self.sure,
            granted_at=granted_at,
            boot_id=boot_id,
        )


def anonymous(config: Config, count: int) -> Identified:
    """Whoever it is: it gets what the configuration gives to those who ask for nothing but a number."""
    asked = ContainerRequest(
        count=count, memory_mib=config.default_memory_mib or None, cores_percent=config.default_cores_percent
    )
    return Identified(pod=None, container=None, asked=asked)


class Again(StrEnum):
    """What an earlier claim of the same ids means: the same call once more, or an init container's ids handed on."""

    REPEAT = "repeat"
    HAND_ON = "hand-on"


def seen_before(
    claims: Iterable[Claim], identified: Identified, *, resource: str, device_ids: Sequence[str]
) -> tuple[Again, Claim] | None:
    """The earlier claim that answers this call too, and how; None when this is a new one.

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
        elif _follows(owner, identified) and owner.asked == identified.asked:
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
    return (max(same, key=lambda claim: claim.number),) if same else tuple(found)


def of_claim(claims: Iterable[Claim], device_ids: Sequence[str]) -> tuple[Claim, ...]:
    """The claims that hold one of these ids."""
    ids = set(device_ids)
    return tuple(each for each in claims if each.owner is not None and ids & set(each.owner.device_ids))
