# SPDX-License-Identifier: Apache-2.0
"""Allocate's decision: what a container gets, over the node as it stands and everything that is promised already.

The law: a container gets all of what it asked, of one kind, or a refusal that says what stands in the way on each GPU;
MIG mode is never changed for it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from hamid.core.claims.claim import ClaimedSeat, ClaimedShare, InstanceKey
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.device_ids import gpu_of
from hamid.core.claims.grant import Denial, DenialCode
from hamid.core.claims.reserved import Reserved, for_planning
from hamid.core.claims.shares import ShareSize, choose_shares, rooms
from hamid.core.config.config import Config, ForeignInstances, Mode
from hamid.core.hardware.gpu import Gpu, Health
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.decide import decide
from hamid.core.planner.plan import Action, GpuPlan, Plan, PlannedInstance, Reason, ReasonCode, Refusal
from hamid.core.planner.request import GpuPolicy, Request, make_request
from hamid.core.planner.steps import Step
from hamid.core.units import PERCENT, Memory

_NO_GPU = "no GPU of this node can serve the request"
_NOBODY = "see hamictl gpu list and hamictl config show"


class Choice(Struct, frozen=True, kw_only=True):
    """What the container gets: instances (`steps` make those that are missing), or shares."""

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


def check_ids(device_ids: Sequence[str], known: Iterable[str]) -> Denial | None:
    """Why these ids cannot be what kubelet gives to one container, or None."""
    if len(set(device_ids)) != len(device_ids):
        return Denial(code=DenialCode.BAD_REQUEST, message="the same device id is asked for twice")
    unknown = sorted(set(device_ids) - set(known))
    if not unknown:
        return None
    return Denial(
        code=DenialCode.UNKNOWN_DEVICE,
        message=f"'{unknown[0][:80]}' is no device of this node",
        hint="kubelet has an old list of devices; delete the pod, its successor gets one of today",
    )


def choose(standing: Reserved, config: Config, wanted: ContainerRequest, device_ids: Sequence[str]) -> Choice | Denial:
    """The best choice for this container; the GPUs of kubelet's ids come first where those ids were steered by us."""
    modes = _modes(standing, config, wanted, device_ids)
    denials: list[Denial] = []
    for mode in modes:
        found = (
            _mig(standing, config, wanted, device_ids)
            if mode is Mode.MIG
            else _shares(standing, config, wanted, device_ids)
        )
        if isinstance(found, Choice):
            return found
        denials.append(found)
    return denials[0] if len(denials) == 1 else _joined(denials)


def _joined(denials: Sequence[Denial]) -> Denial:
    reasons = tuple(reason for each in denials for reason in each.reasons)
    hint = next((each.hint for each in denials if each.hint), _NOBODY)
    message = "; ".join(dict.fromkeys(each.message for each in denials)) or _NO_GPU
    return Denial(code=DenialCode.NO_FIT, message=message, hint=hint, reasons=reasons)


def _modes(standing: Reserved, config: Config, wanted: ContainerRequest, device_ids: Sequence[str]) -> list[Mode]:
    """Kinds of sharing to try, the one of kubelet's GPU first; what is no MIG is one kind."""
    if wanted.mode is not None:
        return [wanted.mode]
    uuids = {gpu_of(each) for each in device_ids}
    ordered = sorted(standing.gpus, key=lambda gpu: gpu.uuid not in uuids)
    kinds = [Mode.MIG if config.mode_of(gpu) is Mode.MIG else Mode.HAMI_CORE for gpu in ordered if config.serves(gpu)]
    return list(dict.fromkeys(kinds))


def prefer(
    standing: Reserved, config: Config, wanted: ContainerRequest, available: Sequence[str], must_include: Sequence[str]
) -> tuple[str, ...]:
    """As many of the available ids as are asked for, on the GPUs that `choose` would take."""
    homes = {each: gpu_of(each) for each in (*must_include, *available)}
    free = sorted(set(available) - set(must_include), key=lambda each: (homes[each], len(each), each))
    choice = choose(standing, config, wanted, must_include or free)
    first = (
        [each.seat.gpu_uuid for each in choice.seats] + [each.gpu_uuid for each in choice.shares]
        if isinstance(choice, Choice)
        else []
    )
    by_gpu: dict[str, list[str]] = {}
    for each in reversed(free):
        by_gpu.setdefault(homes[each], []).append(each)
    chosen = list(must_include)
    for uuid in [*first, *(gpu.uuid for gpu in _busiest_first(standing)), *(homes[each] for each in free)]:
        if len(chosen) >= wanted.count:
            break
        spread = isinstance(choice, Choice) and bool(choice.shares) and uuid in {homes[each] for each in chosen}
        if by_gpu.get(uuid) and not spread:
            chosen.append(by_gpu[uuid].pop())
    taken = set(chosen)
    rest = [each for each in free if each not in taken]
    return tuple([*chosen, *rest][: max(wanted.count, len(must_include))])


def _busiest_first(standing: Reserved) -> list[Gpu]:
    users = Counter(uuid for claim in standing.facts.claims for uuid in claim.gpu_uuids)
    return sorted(standing.gpus, key=lambda gpu: (-users[gpu.uuid], gpu.index))


# -- which GPUs --


def _sorted_out(
    standing: Reserved, config: Config, wanted: ContainerRequest, mode: Mode
) -> tuple[list[Gpu], list[str]]:
    """The GPUs that may serve this container in this mode, and why each other one may not."""
    able: list[Gpu] = []
    reasons: list[str] = []
    for gpu in standing.gpus:
        problem = _hindrance(gpu, standing, config, wanted, mode)
        if problem:
            reasons.append(f"GPU {gpu.index}: {problem}")
        else:
            able.append(gpu)
    return able, reasons


def _hindrance(gpu: Gpu, standing: Reserved, config: Config, wanted: ContainerRequest, mode: Mode) -> str:
    if not config.serves(gpu):
        return "filtered out by the configuration"
    if gpu.health is not Health.OK:
        return f"the driver does not serve it: {gpu.note}"
    if gpu.uuid in standing.problems:
        return standing.problems[gpu.uuid]
    return _wrong_mode(gpu, config.mode_of(gpu), mode) or _unwanted(gpu, wanted)


def _wrong_mode(gpu: Gpu, configured: Mode, wanted: Mode) -> str:
    if (configured is Mode.MIG) != (wanted is Mode.MIG):
        return f"it is in mode {configured}, {wanted} was asked"
    if wanted is Mode.MIG:
        return "" if gpu.mig_enabled and not gpu.mode_changing else "its MIG mode is not on yet"
    return "its MIG mode is still on" if gpu.mig_enabled else ""


def _unwanted(gpu: Gpu, wanted: ContainerRequest) -> str:
    name = (gpu.name or "").upper()
    if wanted.use_uuids and gpu.uuid not in wanted.use_uuids:
        return "its uuid is not among those asked for"
    if gpu.uuid in wanted.avoid_uuids:
        return "its uuid is among those to avoid"
    if wanted.use_types and not any(each.upper() in name for each in wanted.use_types):
        return f"it is no {' or '.join(wanted.use_types)}"
    if any(each.upper() in name for each in wanted.avoid_types):
        return "its type is among those to avoid"
    return ""


def _steered(config: Config, able: Sequence[Gpu], device_ids: Sequence[str]) -> list[Gpu]:
    """The GPUs of kubelet's ids, where kubelet chose them by our preference or by topology."""
    if not (config.preferred_allocation or config.numa_topology):
        return []
    uuids = {gpu_of(each) for each in device_ids}
    return [gpu for gpu in able if gpu.uuid in uuids]


# -- instances --


def _mig(standing: Reserved, config: Config, wanted: ContainerRequest, device_ids: Sequence[str]) -> Choice | Denial:
    able, reasons = _sorted_out(standing, config, wanted, Mode.MIG)
    if not able:
        return Denial(code=DenialCode.NO_FIT, message=_NO_GPU, hint=_NOBODY, reasons=tuple(reasons))
    keep = config.foreign_instances is ForeignInstances.KEEP
    refusals: list[Refusal] = []
    for gpus in _rounds(config, able, device_ids):
        planned = for_planning(standing, gpus, keep_foreign=keep)
        snapshot = Snapshot(gpus=planned, simulated=standing.simulated)
        for request in _requests(config, wanted, gpus):
            found = decide(request, snapshot, config.templates)
            if isinstance(found, Plan):
                return Choice(mode=Mode.MIG, seats=tuple(_seats(found)), steps=found.steps)
            refusals.append(found)
    return _refused(refusals, able, reasons)


def _rounds(config: Config, able: Sequence[Gpu], device_ids: Sequence[str]) -> Iterator[Sequence[Gpu]]:
    steered = _steered(config, able, device_ids)
    if steered and len(steered) < len(able):
        yield steered
    yield able


def _requests(config: Config, wanted: ContainerRequest, gpus: Sequence[Gpu]) -> Iterator[Request]:
    """The request over these GPUs; who wants all of a GPU gets the largest profile, which has another name by model."""
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


def _refused(refusals: Sequence[Refusal], able: Sequence[Gpu], reasons: Sequence[str]) -> Denial:
    ours = {gpu.index for gpu in able}
    by_gpu: dict[int, Reason] = {}
    for reason in (each for refusal in refusals for each in refusal.reasons):
        # A GPU that was left out of one try says why in another.
        if reason.gpu in ours and not (reason.gpu in by_gpu and reason.code is ReasonCode.EXCLUDED):
            by_gpu[reason.gpu] = reason
    wanted = refusals[-1].request.wanted if refusals else "an instance"
    told = [f"GPU {index}: {reason.message}" for index, reason in sorted(by_gpu.items())]
    hints = (_hint(reason) for _, reason in sorted(by_gpu.items()) if reason.code is not ReasonCode.EXCLUDED)
    return Denial(
        code=DenialCode.NO_FIT,
        message=f"no room for {wanted}",
        hint=next(hints, _NOBODY),
        reasons=(*told, *reasons),
    )


# What the planner says to an operator's own request speaks of its options; who waits here is kubelet.
_FOR_PODS: Final = {
    ReasonCode.TEMPLATE_IN_USE: "wait until they are released, or set policy: packed",
    ReasonCode.NO_FREE_PLACEMENT: "delete a container, ask for less, or see hamictl alloc list",
    ReasonCode.NO_PROFILE_THAT_LARGE: "ask for less memory; see hamictl mig profiles",
    ReasonCode.UNKNOWN_MODEL: "give templates for it in device-config.yaml, or set policy: packed",
}


def _hint(reason: Reason) -> str:
    if reason.code is not ReasonCode.FOREIGN_INSTANCE:
        return _FOR_PODS.get(reason.code, reason.hint)
    command = f"hamictl mig repair --reclaim-idle -i {reason.gpu}"
    return f"set foreign_instances: reclaim, or stop hamid, run '{command}' and start it again"


# -- shares --


def _shares(standing: Reserved, config: Config, wanted: ContainerRequest, device_ids: Sequence[str]) -> Choice | Denial:
    able, reasons = _sorted_out(standing, config, wanted, Mode.HAMI_CORE)
    size = ShareSize(
        memory_mib=wanted.memory_mib, memory_percent=wanted.memory_percent, cores_percent=wanted.cores_percent
    )
    room = rooms(
        able,
        standing.facts.claims,
        memory_scaling=config.memory_scaling,
        core_scaling=config.core_scaling,
        split_count=config.split_count,
        preconfigured_memory_mib=config.preconfigured_memory_mib,
    )
    first = [gpu.uuid for gpu in _steered(config, able, device_ids)]
    shares = choose_shares(room, size, wanted.count, first=first, spread=config.gpu_policy is GpuPolicy.SPREAD)
    if shares:
        return Choice(mode=Mode.HAMI_CORE, shares=shares)
    told = [f"GPU {each.gpu.index}: {problem}" for each in room.values() if (problem := each.refusal(size))]
    return Denial(
        code=DenialCode.NO_FIT,
        message=f"no {wanted.count} GPU{'s' if wanted.count > 1 else ''} with room for {size}",
        hint="delete a container, ask for less, or see hamictl alloc list" if room else _NOBODY,
        reasons=(*told, *reasons),
    )
