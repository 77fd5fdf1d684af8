# SPDX-License-Identifier: Apache-2.0
"""Allocate's decision: what a container gets, given the state of the node and all existing claims.

Invariants: a container gets its whole request, all instances or all shares, or a Refusal with the reason for each GPU.
Allocate never changes MIG mode. A claimed placement counts as occupied even while its instance is missing, and an
instance that is being destroyed is not available.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims.claim import ClaimedSeat, ClaimedShare, InstanceKey, LedgerFacts, instance_at, merge_gpu, seat_of
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.device_ids import gpu_of
from hamid.core.claims.shares import find_shares
from hamid.core.config.config import Config, ForeignInstances, Mode
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.decide import decide
from hamid.core.planner.eligibility import Selection, container_obstacle
from hamid.core.planner.plan import Action, GpuPlan, Plan, PlannedInstance, Step
from hamid.core.planner.reasons import Reason, ReasonCode
from hamid.core.planner.refusal import (
    NoGpu,
    NoInstances,
    NoKind,
    PlanRefusal,
    Refusal,
    RepeatedDevice,
    UnknownDevice,
)
from hamid.core.planner.request import Request, make_request
from hamid.core.units import PERCENT, Memory


class Reserved(Struct, frozen=True, kw_only=True):
    """The GPUs as NVML shows them, the ledger's facts, and problems by GPU uuid.

    `doomed` are the seats that running changes will destroy. `merged` are the same GPUs with the ledger's facts merged
    in, if the caller already has them.
    """

    gpus: tuple[Gpu, ...]
    facts: LedgerFacts
    merged: tuple[Gpu, ...] = ()
    doomed: frozenset[InstanceKey] = frozenset()
    problems: Mapping[str, str] = {}
    simulated: bool = False

    def gpu(self, uuid: str) -> Gpu | None:
        """A GPU by its uuid."""
        return next((gpu for gpu in self.gpus if gpu.uuid == uuid), None)


class Choice(Struct, frozen=True, kw_only=True):
    """What the container gets: instances (`steps` create the missing ones), or shares."""

    mode: Mode
    seats: tuple[ClaimedSeat, ...] = ()
    steps: tuple[Step, ...] = ()
    shares: tuple[ClaimedShare, ...] = ()

    @property
    def gpu_uuids(self) -> tuple[str, ...]:
        """The GPUs that it touches."""
        found = [step.gpu_uuid for step in self.steps]
        found += [each.seat.gpu_uuid for each in self.seats]
        return tuple(dict.fromkeys([*found, *(each.gpu_uuid for each in self.shares)]))


def check_ids(device_ids: Sequence[str], known: Iterable[str]) -> Refusal | None:
    """Why kubelet cannot have assigned these ids to one container, or None."""
    if len(set(device_ids)) != len(device_ids):
        return Refusal(facts=RepeatedDevice())
    unknown = sorted(set(device_ids) - set(known))
    return Refusal(facts=UnknownDevice(unknown[0])) if unknown else None


def choose(reserved: Reserved, config: Config, wanted: ContainerRequest, device_ids: Sequence[str]) -> Choice | Refusal:
    """The best choice for this container; if kubelet follows our preference, the GPUs of its ids come first."""
    refusals: list[Refusal] = []
    for mode in _modes(reserved, config, wanted, device_ids):
        able, reasons = _sorted_out(reserved, config, wanted, mode)
        pick = _mig if mode is Mode.MIG else _shares
        found = pick(reserved, config, wanted, able, _steered(config, able, device_ids))
        if isinstance(found, Choice):
            return found
        refusals.append(replace(found, reasons=(*found.reasons, *reasons)))
    if len(refusals) == 1:
        return refusals[0]
    return Refusal(facts=NoKind(tuple(refusals)) if refusals else NoGpu())


def _modes(reserved: Reserved, config: Config, wanted: ContainerRequest, device_ids: Sequence[str]) -> list[Mode]:
    """Kinds of sharing to try, that of kubelet's GPU first; all modes except MIG are one kind."""
    if wanted.mode is not None:
        return [_kind(wanted.mode)]
    uuids = {gpu_of(each) for each in device_ids}
    ordered = sorted(reserved.gpus, key=lambda gpu: gpu.uuid not in uuids)
    return list(dict.fromkeys(_kind(config.mode_of(gpu)) for gpu in ordered if config.serves(gpu)))


def _kind(mode: Mode) -> Mode:
    return Mode.MIG if mode is Mode.MIG else Mode.HAMI_CORE


# -- which GPUs --


def _sorted_out(
    reserved: Reserved, config: Config, wanted: ContainerRequest, mode: Mode
) -> tuple[list[Gpu], list[Reason]]:
    """The GPUs that may serve this container in this mode, and why each other one may not."""
    able: list[Gpu] = []
    reasons: list[Reason] = []
    selection = Selection(
        mode=mode,
        use_types=wanted.use_types,
        avoid_types=wanted.avoid_types,
        use_uuids=wanted.use_uuids,
        avoid_uuids=wanted.avoid_uuids,
    )
    for gpu in reserved.gpus:
        reason = container_obstacle(
            gpu,
            selection,
            mode=config.mode_of(gpu),
            served=config.serves(gpu),
            problem=reserved.problems.get(gpu.uuid, ""),
        )
        if reason is None:
            able.append(gpu)
        else:
            reasons.append(reason)
    return able, reasons


def _steered(config: Config, able: Sequence[Gpu], device_ids: Sequence[str]) -> list[Gpu]:
    """The GPUs of kubelet's ids, where kubelet chose them by our preference or by topology."""
    if not (config.preferred_allocation or config.numa_topology):
        return []
    uuids = {gpu_of(each) for each in device_ids}
    return [gpu for gpu in able if gpu.uuid in uuids]


# -- instances --


def _mig(
    reserved: Reserved, config: Config, wanted: ContainerRequest, able: Sequence[Gpu], steered: Sequence[Gpu]
) -> Choice | Refusal:
    if not able:
        return Refusal(facts=NoGpu())
    keep = config.foreign_instances is ForeignInstances.KEEP
    refusals: list[PlanRefusal] = []
    for gpus in (steered, able) if 0 < len(steered) < len(able) else (able,):
        planned = for_planning(reserved, gpus, keep_foreign=keep)
        snapshot = Snapshot(gpus=planned, simulated=reserved.simulated)
        for request in _requests(config, wanted, gpus):
            found = decide(request, snapshot, config.templates)
            if isinstance(found, Plan):
                return Choice(mode=Mode.MIG, seats=tuple(_seats(found)), steps=found.steps)
            refusals.append(found)
    return _refused(refusals, able)


def _requests(config: Config, wanted: ContainerRequest, gpus: Sequence[Gpu]) -> Iterator[Request]:
    """The requests to try; all of a GPU means its largest profile, whose name depends on the model."""
    if wanted.memory_mib is None and wanted.memory_percent in {None, PERCENT}:
        names: dict[str, list[Gpu]] = {}
        for gpu in gpus:
            plain = [profile for profile in gpu.profiles if not profile.suffix]
            if plain:
                names.setdefault(max(plain, key=lambda profile: profile.order).name, []).append(gpu)
        for name, same in names.items():
            yield _request(config, wanted, same, None, name)
    else:
        yield _request(config, wanted, gpus, Memory(mib=wanted.memory_mib, percent=wanted.memory_percent), None)


def _request(
    config: Config, wanted: ContainerRequest, gpus: Sequence[Gpu], memory: Memory | None, profile: str | None
) -> Request:
    return make_request(
        count=wanted.count,
        memory=memory,
        # The largest instance has all the cores that instances can have.
        cores_percent=0 if profile else wanted.cores_percent,
        profile=profile,
        policy=config.policy,
        memory_match=config.memory_match,
        gpu_policy=config.gpu_policy,
        gpus=tuple(gpu.uuid for gpu in gpus),
        enable_mig=False,
        reclaim_idle=config.foreign_instances is ForeignInstances.RECLAIM,
    )


def _seats(plan: Plan) -> Iterator[ClaimedSeat]:
    for on_gpu in plan.gpus:
        for each in on_gpu.instances:
            if each.serves:
                yield _seat(on_gpu, each)


def _seat(on_gpu: GpuPlan, each: PlannedInstance) -> ClaimedSeat:
    profile = next(profile for profile in on_gpu.gpu.profiles if profile.name == each.profile)
    return ClaimedSeat(
        seat=InstanceKey(on_gpu.gpu.uuid, profile.profile_id, each.placement.start),
        profile=each.profile,
        size=each.placement.size,
        made=each.action is Action.CREATE,
        mig_uuid=each.mig_uuid,
    )


def _refused(refusals: Sequence[PlanRefusal], able: Sequence[Gpu]) -> Refusal:
    ours = {gpu.index for gpu in able}
    by_gpu: dict[int, Reason] = {}
    for reason in (each for refusal in refusals for each in refusal.reasons):
        # A GPU that one attempt excluded has its reason from another attempt.
        if reason.gpu in ours and not (reason.gpu in by_gpu and reason.code is ReasonCode.EXCLUDED):
            by_gpu[reason.gpu] = reason
    wanted = refusals[-1].request.wanted if refusals else "an instance"
    return Refusal(facts=NoInstances(wanted), reasons=tuple(reason for _, reason in sorted(by_gpu.items())))


# -- shares --


def _shares(
    reserved: Reserved, config: Config, wanted: ContainerRequest, able: Sequence[Gpu], steered: Sequence[Gpu]
) -> Choice | Refusal:
    found = find_shares(able, reserved.facts.claims, config, wanted, first=[gpu.uuid for gpu in steered])
    return found if isinstance(found, Refusal) else Choice(mode=Mode.HAMI_CORE, shares=found)


# -- the node as the planner must see it --


def for_planning(reserved: Reserved, gpus: Iterable[Gpu], *, keep_foreign: bool) -> tuple[Gpu, ...]:
    """These GPUs for the planner: claimed and doomed seats are in use, with `keep_foreign` also foreign instances."""
    wanted = {gpu.uuid for gpu in gpus}
    seats = _seats_by_gpu(reserved.facts, wanted)
    known = [gpu for gpu in reserved.merged or reserved.gpus if gpu.uuid in wanted]
    merged = known if reserved.merged else [merge_gpu(gpu, reserved.facts) for gpu in known]
    return tuple(_planned_on(gpu, reserved, seats.get(gpu.uuid, ()), keep_foreign=keep_foreign) for gpu in merged)


def _seats_by_gpu(facts: LedgerFacts, uuids: Container[str]) -> dict[str, list[tuple[str, ClaimedSeat]]]:
    found: dict[str, list[tuple[str, ClaimedSeat]]] = {}
    for claim in facts.claims:
        for each in claim.seats:
            if each.seat.gpu_uuid in uuids:
                found.setdefault(each.seat.gpu_uuid, []).append((claim.name, each))
    return found


def _planned_on(gpu: Gpu, reserved: Reserved, seats: Iterable[tuple[str, ClaimedSeat]], *, keep_foreign: bool) -> Gpu:
    there = tuple(
        replace(each, used=True)
        if not each.used and _untouchable(gpu, each, reserved, keep_foreign=keep_foreign)
        else each
        for each in gpu.instances
    )
    return replace(gpu, instances=(*there, *_promised(gpu, seats)))


def _untouchable(gpu: Gpu, each: Instance, reserved: Reserved, *, keep_foreign: bool) -> bool:
    foreign = each.generation == 0
    return each.compute_instances != 1 or seat_of(gpu, each) in reserved.doomed or (keep_foreign and foreign)


def _promised(gpu: Gpu, seats: Iterable[tuple[str, ClaimedSeat]]) -> Iterator[Instance]:
    """Claimed instances that are missing, unless another instance occupies their placement."""
    taken = 0
    for instance in gpu.instances:
        taken |= instance.placement.mask
    for name, each in seats:
        if instance_at(gpu, each.seat) is None and not each.placement.mask & taken:
            yield Instance(
                profile=each.profile,
                profile_id=each.seat.profile_id,
                memory_mib=0,
                placement=each.placement,
                gi_id=-1,
                claim=name,
                used=True,
            )
