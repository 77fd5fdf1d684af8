# SPDX-License-Identifier: Apache-2.0
"""Claims as JSON documents: who holds what, and how certain that is."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from hamid.core.claims.claim import Claim, PodOwner, status_of
from hamid.core.documents.envelope import Document, envelope


def claims_document(claims: Iterable[Claim], indexes: Mapping[str, int], *, simulated: bool) -> Document:
    """A `ClaimList`: operators' claims, then grants, oldest first; `indexes` maps GPU uuids to indices, if known."""
    ordered = sorted(claims, key=lambda claim: (0 if claim.owner is None else claim.id, claim.name))
    return {**envelope("ClaimList", simulated=simulated), "claims": [_claim(claim, indexes) for claim in ordered]}


def _claim(claim: Claim, indexes: Mapping[str, int]) -> Document:
    owner = claim.owner
    return {
        "name": claim.name,
        "standing": status_of(claim),
        "pod": None if owner is None or not owner.known else _pod(owner),
        "resource": None if owner is None else owner.resource,
        "deviceIds": [] if owner is None else list(owner.device_ids),
        "grantedAt": None if owner is None else _time(owner.granted_at),
        "instances": [
            {
                "migUUID": each.mig_uuid,
                "profile": each.profile,
                "gpuIndex": indexes.get(each.seat.gpu_uuid),
                "gpuUUID": each.seat.gpu_uuid,
                "start": each.seat.start,
                "size": each.size,
                "made": each.made,
            }
            for each in claim.seats
        ],
        "shares": [
            {
                "gpuIndex": indexes.get(each.gpu_uuid),
                "gpuUUID": each.gpu_uuid,
                "memoryMiB": each.memory_mib,
                "coresPercent": each.sm_percent,
            }
            for each in claim.shares
        ],
    }


def _pod(owner: PodOwner) -> Document:
    return {"uid": owner.uid, "namespace": owner.namespace, "name": owner.name, "container": owner.container}


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
