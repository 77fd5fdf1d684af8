# SPDX-License-Identifier: Apache-2.0
"""Turns chosen offers into a Plan: what happens to each instance, the steps in order, and what to mind.

Steps are ordered per GPU: the mode, then what is destroyed, then what is created, so that every state between is legal.
"""

from collections.abc import Iterable, Iterator, Sequence

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import count_names
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.offer import Assignment, Offer
from hamid.core.planner.plan import Action, Consideration, GpuPlan, Plan, PlannedInstance, planned, planned_new
from hamid.core.planner.request import Request
from hamid.core.planner.steps import Step, create, destroy, switch_mode
from hamid.core.planner.templates import instance_counts

_ONE_DEVICE = "a CUDA process uses one MIG device: {count} instances serve {count} processes or containers, not one"


def make_plan(
    request: Request,
    snapshot: Snapshot,
    chosen: Sequence[Offer],
    *,
    considered: tuple[Consideration, ...] = (),
    warnings: Iterable[str] = (),
) -> Plan:
    """The plan of these offers, GPUs by index."""
    offers = sorted(chosen, key=lambda offer: offer.gpu.index)
    return Plan(
        request=request,
        gpus=tuple(_gpu_plan(offer) for offer in offers),
        steps=tuple(step for offer in offers for step in _steps(offer)),
        fingerprint=snapshot.fingerprint(),
        simulated=snapshot.simulated,
        warnings=tuple(dict.fromkeys([*warnings, *_warnings(request, offers)])),
        considered=considered,
    )


def _gpu_plan(offer: Offer) -> GpuPlan:
    board = board_of(offer.gpu.profiles)
    instances = [
        *(_granted(grant) for grant in offer.grants),
        *(planned(instance, Action.DESTROY) for instance in offer.destroyed),
        *(planned(instance, Action.KEEP) for instance in offer.kept),
    ]
    return GpuPlan(
        gpu=offer.gpu,
        axis=board.axis,
        template=offer.template,
        instances=tuple(sorted(instances, key=lambda item: (item.placement.start, item.action))),
        template_rest=_template_rest(offer),
        creatable=board.creatable(offer.after),
    )


def _template_rest(offer: Offer) -> dict[str, int] | None:
    if offer.template is None:
        return None
    used = [instance.profile for instance in offer.gpu.used_instances]
    return instance_counts(offer.template, [*used, *(grant.seat.profile.name for grant in offer.grants)])


def _granted(grant: Assignment) -> PlannedInstance:
    if grant.instance is not None:
        return planned(grant.instance, Action.REUSE, serves=True)
    return planned_new(grant.seat, serves=True)


def _steps(offer: Offer) -> Iterator[Step]:
    if not offer.gpu.mig_enabled:
        yield switch_mode(offer.gpu, enabled=True)
    yield from (destroy(offer.gpu, instance) for instance in offer.destroyed)
    yield from (create(offer.gpu, grant.seat) for grant in offer.grants if grant.instance is None)


def _warnings(request: Request, offers: Iterable[Offer]) -> Iterator[str]:
    if request.count > 1:
        yield _ONE_DEVICE.format(count=request.count)
    for offer in offers:
        for name in count_names(grant.seat.profile.name for grant in offer.grants):
            yield from _memory_warning(offer, name, request)


def _memory_warning(offer: Offer, name: str, request: Request) -> Iterator[str]:
    """A template may promise more memory than the driver gives; where that undercuts the request it is told."""
    profile = next(p for p in offer.gpu.profiles if p.name == name)
    need = 0 if request.memory is None else request.memory.of(offer.gpu.memory_mib or 0)
    if profile.memory_mib < need:
        yield (
            f"{name} has {profile.memory_mib} MiB on {offer.gpu.title} by NVML, less than the {need} MiB asked; "
            f"the template counts more (--memory-match nvml takes the driver's figure)"
        )
