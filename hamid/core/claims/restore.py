# SPDX-License-Identifier: Apache-2.0
"""The steps that recreate the instances of claims, and those that destroy them."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from hamid.core.claims.claim import Claim, ClaimedSeat, InstanceKey, LedgerFacts, instance_at
from hamid.core.hardware.gpu import Gpu
from hamid.core.planner.plan import CreateInstance, DestroyInstance, Step, switch_mode


def missing_steps(gpus: Iterable[Gpu], claims: Iterable[Claim]) -> Iterator[Step]:
    """The steps that create every claimed instance that is missing on these GPUs, at its recorded placement.

    A GPU that lost its MIG mode gets it back first. An instance without a compute instance counts as missing.
    """
    by_gpu: dict[str, list[ClaimedSeat]] = {}
    for claim in claims:
        for each in claim.seats:
            by_gpu.setdefault(each.seat.gpu_uuid, []).append(each)
    for gpu in gpus:
        lost = [each for each in by_gpu.get(gpu.uuid, ()) if not _is_whole(gpu, each.seat)]
        if lost and not gpu.mig_enabled:
            yield switch_mode(gpu, enabled=True)
        for each in lost:
            yield CreateInstance(
                gpu_uuid=gpu.uuid,
                gpu_index=gpu.index,
                profile=each.profile,
                profile_id=each.seat.profile_id,
                placement=each.placement,
            )


def _is_whole(gpu: Gpu, key: InstanceKey) -> bool:
    there = instance_at(gpu, key)
    return there is not None and there.compute_instances > 0


def is_promised(seat: InstanceKey, facts: LedgerFacts, ending: Collection[int]) -> bool:
    """True when a missing instance must be created again on its seat; `ending` are ids of claims that are ending.

    A pending claim gets its instances from its own run. Without a claim: an instance of ours is still in the ledger.
    """
    claim = facts.claim_at(seat)
    if claim is None:
        return facts.own_at(seat) is not None
    return not claim.pending and claim.id not in ending


def ending_steps(claim: Claim, indices: Mapping[str, int]) -> Iterator[DestroyInstance]:
    """The steps that destroy the instances made for a claim; `indices` are the GPUs' NVML indices by uuid."""
    for each in claim.seats:
        if each.made:
            yield DestroyInstance(
                gpu_uuid=each.seat.gpu_uuid,
                gpu_index=indices.get(each.seat.gpu_uuid, -1),
                profile=each.profile,
                profile_id=each.seat.profile_id,
                placement=each.placement,
                mig_uuid=each.mig_uuid,
            )
