# SPDX-License-Identifier: Apache-2.0
"""The changes that a plan is made of, as data. A step names its GPU by uuid and says exactly what it does."""

from msgspec import Struct

from hamid.core.profile import Placement


class SetMigMode(Struct, frozen=True, tag=True, kw_only=True):
    """Switch MIG mode; the GPU must have no client and, to switch off, no instance."""

    gpu_uuid: str
    gpu_index: int
    enabled: bool


class CreateInstance(Struct, frozen=True, tag=True, kw_only=True):
    """Create a GPU instance at exactly this placement and one compute instance that spans it."""

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
