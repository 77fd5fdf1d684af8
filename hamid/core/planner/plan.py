# SPDX-License-Identifier: Apache-2.0
"""A Plan: how a request is met, and its steps, as plain values.

A step names its GPU by uuid and says exactly what it does.
"""

from enum import StrEnum

from msgspec import Struct

from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.gpu import Gpu, Holder, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.planner.reasons import GpuFacts, ReasonCode
from hamid.core.planner.request import Request
from hamid.core.planner.templates import Template


class SetMigMode(Struct, frozen=True, tag=True, kw_only=True):
    """Switch MIG mode; the GPU must have no client and, to switch off, no instance."""

    gpu_uuid: str
    gpu_index: int
    enabled: bool


class CreateInstance(Struct, frozen=True, tag=True, kw_only=True):
    """Create a GPU instance at exactly this placement, one compute instance that spans it, and its device nodes."""

    gpu_uuid: str
    gpu_index: int
    profile: str
    profile_id: int
    placement: Placement


class DestroyInstance(Struct, frozen=True, tag=True, kw_only=True):
    """Destroy an idle instance: its compute instance, then the GPU instance."""

    gpu_uuid: str
    gpu_index: int
    profile: str
    profile_id: int
    placement: Placement
    mig_uuid: str | None


Step = SetMigMode | CreateInstance | DestroyInstance


def switch_mode(gpu: Gpu, *, enabled: bool) -> SetMigMode:
    """Switch a GPU's MIG mode."""
    return SetMigMode(gpu_uuid=gpu.uuid, gpu_index=gpu.index, enabled=enabled)


def create(gpu: Gpu, seat: Seat) -> CreateInstance:
    """Create an instance on a seat of a GPU."""
    return CreateInstance(
        gpu_uuid=gpu.uuid,
        gpu_index=gpu.index,
        profile=seat.profile.name,
        profile_id=seat.profile.profile_id,
        placement=seat.placement,
    )


def destroy(gpu: Gpu, instance: Instance) -> DestroyInstance:
    """Destroy an instance of a GPU."""
    return DestroyInstance(
        gpu_uuid=gpu.uuid,
        gpu_index=gpu.index,
        profile=instance.profile,
        profile_id=instance.profile_id,
        placement=instance.placement,
        mig_uuid=instance.mig_uuid,
    )


def recreate(gpu: Gpu, instance: Instance) -> CreateInstance:
    """Create an instance like this one at its placement."""
    return CreateInstance(
        gpu_uuid=gpu.uuid,
        gpu_index=gpu.index,
        profile=instance.profile,
        profile_id=instance.profile_id,
        placement=instance.placement,
    )


class Action(StrEnum):
    """What a plan does with an instance."""

    CREATE = "create"
    REUSE = "reuse"
    KEEP = "keep"
    DESTROY = "destroy"


class Consideration(Struct, frozen=True, kw_only=True):
    """One option that the planner considered on a GPU: a template (by index) or a placement.

    `verdict` is the GPU's reason, or a text; `code` is None for an option that could serve. `whole_gpu` is
    True for the verdict on the GPU itself, which follows those on its options.
    """

    gpu: int
    template: int | None
    what: str
    code: ReasonCode | None
    verdict: GpuFacts | str
    whole_gpu: bool = False


class PlannedInstance(Struct, frozen=True, kw_only=True):
    """One instance of a chosen GPU; `serves` is True when the request gets it."""

    action: Action
    serves: bool
    profile: str
    memory_mib: int
    placement: Placement
    mig_uuid: str | None = None
    holders: tuple[Holder, ...] = ()
    claim: str = ""


def planned(instance: Instance, action: Action, *, serves: bool = False) -> PlannedInstance:
    """What happens to an instance that exists."""
    return PlannedInstance(
        action=action,
        serves=serves,
        profile=instance.profile,
        memory_mib=instance.memory_mib,
        placement=instance.placement,
        mig_uuid=instance.mig_uuid,
        holders=instance.holders,
        claim=instance.claim,
    )


def planned_new(seat: Seat, *, serves: bool = False) -> PlannedInstance:
    """An instance to create."""
    return PlannedInstance(
        action=Action.CREATE,
        serves=serves,
        profile=seat.profile.name,
        memory_mib=seat.profile.memory_mib,
        placement=seat.placement,
    )


class GpuPlan(Struct, frozen=True, kw_only=True):
    """What happens on one chosen GPU. `axis` is the length of its memory-slice axis.

    `template_rest` is the template minus what is used and what the request gets (None without a template);
    `creatable` how many instances of each profile alone could still be created afterwards.
    """

    gpu: Gpu
    axis: int
    template: Template | None
    instances: tuple[PlannedInstance, ...]
    template_rest: dict[str, int] | None
    creatable: dict[str, int]


class Plan(Struct, frozen=True, kw_only=True):
    """How the request is met: the chosen GPUs, the steps in order, and the snapshot that it is based on."""

    request: Request
    gpus: tuple[GpuPlan, ...]
    steps: tuple[Step, ...]
    fingerprint: str
    simulated: bool
    warnings: tuple[str, ...] = ()
    considered: tuple[Consideration, ...] = ()
