# SPDX-License-Identifier: Apache-2.0
"""The planner: a Request over a Snapshot becomes a Plan or a Refusal.

    decide(request, snapshot, table) -> Plan | Refusal

The fewest GPUs serve a request; among those that could, GPUs in use come before idle ones, then by index. Steps are
ordered per GPU: the mode, then what is destroyed, then what is created, so that every state between is legal.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from hamid.core.geometry import count_names
from hamid.core.gpu import Gpu, Instance
from hamid.core.offer import Grant, Offer, obstacle, offer_by_template
from hamid.core.placement import board_of
from hamid.core.plan import Action, GpuPlan, Plan, PlannedInstance, Reason, Refusal
from hamid.core.request import Request
from hamid.core.snapshot import Snapshot, select_gpus
from hamid.core.steps import CreateInstance, DestroyInstance, SetMigMode, Step
from hamid.core.templates import TemplateTable, instance_counts

_ONE_DEVICE = "a CUDA process uses one MIG device: {count} instances serve {count} processes or containers, not one"


def decide(request: Request, snapshot: Snapshot, table: TemplateTable) -> Plan | Refusal:
    """The plan that meets the request, or why it cannot be met. Raises UsageError for unknown GPU selectors."""
    asked = select_gpus(snapshot, request.gpus)
    offers, reasons = _single(request, asked, table)
    chosen = (offers[0],) if offers else _several(request, asked, table)
    if not chosen:
        return Refusal(
            request=request,
            reasons=reasons,
            fingerprint=snapshot.fingerprint(),
            simulated=snapshot.simulated,
        )
    gpus = tuple(_gpu_plan(offer) for offer in sorted(chosen, key=lambda offer: offer.gpu.index))
    return Plan(
        request=request,
        gpus=gpus,
        steps=tuple(step for offer in chosen for step in _steps(offer)),
        fingerprint=snapshot.fingerprint(),
        simulated=snapshot.simulated,
        warnings=tuple(dict.fromkeys(_warnings(request, chosen))),
    )


def _single(request: Request, gpus: Sequence[Gpu], table: TemplateTable) -> tuple[list[Offer], tuple[Reason, ...]]:
    """The offers of GPUs that hold the whole request, best first, and the reasons of the others."""
    answers = [_ask(gpu, request, request.count, table) for gpu in gpus]
    offers = sorted((answer for answer in answers if isinstance(answer, Offer)), key=_preference)
    return offers, tuple(answer for answer in answers if isinstance(answer, Reason))


def _several(request: Request, gpus: Sequence[Gpu], table: TemplateTable) -> tuple[Offer, ...]:
    """The fewest GPUs that hold the request together, or nothing: the roomiest first, the last one by preference."""
    rooms = [offers for gpu in gpus if (offers := _all_offers(gpu, request, table))]
    rooms.sort(key=lambda offers: (-max(offers), _preference(offers[max(offers)])))
    chosen: list[Offer] = []
    missing = request.count
    while rooms and missing:
        enough = [offers for offers in rooms if missing in offers]
        offers = min(enough, key=lambda offers: _preference(offers[missing])) if enough else rooms[0]
        size = min(missing, max(offers))
        chosen.append(offers[size])
        missing -= size
        rooms.remove(offers)
    return () if missing else tuple(chosen)


def _all_offers(gpu: Gpu, request: Request, table: TemplateTable) -> dict[int, Offer]:
    """What a GPU offers for each smaller count that it can hold."""
    answers = {count: _ask(gpu, request, count, table) for count in range(1, request.count)}
    return {count: answer for count, answer in answers.items() if isinstance(answer, Offer)}


def _ask(gpu: Gpu, request: Request, count: int, table: TemplateTable) -> Offer | Reason:
    return obstacle(gpu, request) or offer_by_template(gpu, request, count, table)


def _preference(offer: Offer) -> tuple[bool, int]:
    return (not offer.gpu.used_instances, offer.gpu.index)


def _gpu_plan(offer: Offer) -> GpuPlan:
    board = board_of(offer.gpu.profiles)
    instances = [
        *(_granted(grant) for grant in offer.grants),
        *(_existing(instance, Action.DESTROY) for instance in offer.destroyed),
        *(_existing(instance, Action.KEEP) for instance in offer.kept),
    ]
    return GpuPlan(
        gpu=offer.gpu,
        axis=board.axis,
        template=offer.template,
        instances=tuple(sorted(instances, key=lambda item: (item.placement.start, item.action))),
        template_rest=_template_rest(offer),
        creatable=board.creatable(offer.occupancy),
    )


def _template_rest(offer: Offer) -> dict[str, int] | None:
    if offer.template is None:
        return None
    used = [instance.profile for instance in offer.gpu.used_instances]
    return instance_counts(offer.template, [*used, *(grant.seat.profile.name for grant in offer.grants)])


def _granted(grant: Grant) -> PlannedInstance:
    if grant.instance is not None:
        return _existing(grant.instance, Action.REUSE, serves=True)
    return PlannedInstance(
        action=Action.CREATE,
        serves=True,
        profile=grant.seat.profile.name,
        memory_mib=grant.seat.profile.memory_mib,
        placement=grant.seat.placement,
    )


def _existing(instance: Instance, action: Action, *, serves: bool = False) -> PlannedInstance:
    return PlannedInstance(
        action=action,
        serves=serves,
        profile=instance.profile,
        memory_mib=instance.memory_mib,
        placement=instance.placement,
        mig_uuid=instance.mig_uuid,
        holders=instance.holders,
    )


def _steps(offer: Offer) -> Iterator[Step]:
    gpu = offer.gpu
    if not gpu.mig_enabled:
        yield SetMigMode(gpu_uuid=gpu.uuid, gpu_index=gpu.index, enabled=True)
    for instance in offer.destroyed:
        yield DestroyInstance(
            gpu_uuid=gpu.uuid,
            gpu_index=gpu.index,
            profile=instance.profile,
            profile_id=instance.profile_id,
            placement=instance.placement,
            mig_uuid=instance.mig_uuid,
        )
    for grant in offer.grants:
        if grant.instance is None:
            yield CreateInstance(
                gpu_uuid=gpu.uuid,
                gpu_index=gpu.index,
                profile=grant.seat.profile.name,
                profile_id=grant.seat.profile.profile_id,
                placement=grant.seat.placement,
            )


def _warnings(request: Request, offers: Iterable[Offer]) -> Iterator[str]:
    if request.count > 1:
        yield _ONE_DEVICE.format(count=request.count)
    for offer in offers:
        if offer.template is None:
            continue
        claimed = {slot.name: slot.memory_mib for slot in offer.template.slots}
        for name in count_names(grant.seat.profile.name for grant in offer.grants):
            yield from _memory_warning(offer, name, claimed[name], request)


def _memory_warning(offer: Offer, name: str, claimed_mib: int, request: Request) -> Iterator[str]:
    """A template may promise more memory than the driver gives; only where that breaks the request is it news."""
    profile = next(p for p in offer.gpu.profiles if p.name == name)
    need = request.memory.of(offer.gpu.memory_mib or 0)
    if profile.memory_mib < need:
        yield (
            f"{name} has {profile.memory_mib} MiB on {offer.gpu.title}, less than the {need} MiB asked; "
            f"the template counts it as {claimed_mib} MiB"
        )


def sum_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Counts by name over several GPUs; names with nothing left stay, as 0."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
