# SPDX-License-Identifier: Apache-2.0
"""The changes that a plan is made of, as data. A step names its GPU by uuid and says exactly what it does."""

from msgspec import Struct

from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Placement


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
