# SPDX-License-Identifier: Apache-2.0
"""Why one GPU cannot serve a request: a code for programs, and facts for people.

Each kind of reason is a class whose fields are its facts. The text for an operator is in
hamid.core.planner.refusal_text, the text for a pod in hamid.core.claims.pod_text.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from msgspec import Struct

from hamid.core.hardware.gpu import Health, Holder, Instance


class ReasonCode(StrEnum):
    """Why a GPU cannot serve a request now; the closed list that programs may rely on.

    The last three are only about containers, so `hamictl mig plan` never shows them.
    """

    LOST = "Lost"
    UNREADABLE = "Unreadable"
    NOT_MIG_CAPABLE = "NotMigCapable"
    MODE_PENDING = "ModePending"
    MIG_DISABLED = "MigDisabled"
    CLIENTS_RUNNING = "ClientsRunning"
    UNKNOWN_MODEL = "UnknownModel"
    UNKNOWN_PROFILE = "UnknownProfile"
    EXCLUDED = "Excluded"
    NO_PROFILE_THAT_LARGE = "NoProfileThatLarge"
    TEMPLATE_IN_USE = "TemplateInUse"
    NO_FREE_PLACEMENT = "NoFreePlacement"
    FOREIGN_INSTANCE = "ForeignInstance"
    UNAVAILABLE = "Unavailable"
    WRONG_MODE = "WrongMode"
    NO_FREE_SHARE = "NoFreeShare"


# -- the GPU is not among those that the request or the configuration allows --


class NotSelected(Struct, frozen=True):
    """Another GPU was named with -i."""

    code: ClassVar = ReasonCode.EXCLUDED


class OtherModel(Struct, frozen=True):
    """The GPU, called `name`, is none of the `models` of --model."""

    code: ClassVar = ReasonCode.EXCLUDED
    models: tuple[str, ...]
    name: str | None


class FilteredOut(Struct, frozen=True):
    """The configuration keeps the GPU from kubelet."""

    code: ClassVar = ReasonCode.EXCLUDED


class OtherUuid(Struct, frozen=True):
    """The pod names other GPUs."""

    code: ClassVar = ReasonCode.EXCLUDED


class OtherType(Struct, frozen=True):
    """The pod wants one of these `types`."""

    code: ClassVar = ReasonCode.EXCLUDED
    types: tuple[str, ...]


class Avoided(Struct, frozen=True):
    """The pod avoids the GPU by its `attribute`, uuid or type."""

    code: ClassVar = ReasonCode.EXCLUDED
    attribute: str


Exclusion = NotSelected | OtherModel | FilteredOut | OtherUuid | OtherType | Avoided


# -- the GPU's state rules it out, whatever the size of the request --


class NotServed(Struct, frozen=True):
    """The driver does not serve the GPU; `note` is what it says."""

    health: Health
    note: str

    @property
    def code(self) -> ReasonCode:
        """Lost or unreadable."""
        return ReasonCode.LOST if self.health is Health.LOST else ReasonCode.UNREADABLE


class Unavailable(Struct, frozen=True):
    """Hamid starts nothing new on the GPU because of this `problem`."""

    code: ClassVar = ReasonCode.UNAVAILABLE
    problem: str


class NotMigCapable(Struct, frozen=True):
    """The GPU has no MIG."""

    code: ClassVar = ReasonCode.NOT_MIG_CAPABLE


class AwaitsReset(Struct, frozen=True):
    """MIG mode will be `enabled` or disabled by the next reset."""

    code: ClassVar = ReasonCode.MODE_PENDING
    enabled: bool


class ModeLags(Struct, frozen=True):
    """The configured mode needs MIG to be the other way; `enabled` is what it is now."""

    code: ClassVar = ReasonCode.MODE_PENDING
    enabled: bool


class WrongMode(Struct, frozen=True):
    """The GPU is shared in another mode than the one that is `wanted`."""

    code: ClassVar = ReasonCode.WRONG_MODE
    configured: str
    wanted: str


class ClientsRunning(Struct, frozen=True):
    """MIG is off, and these `clients` keep it from being switched on."""

    code: ClassVar = ReasonCode.CLIENTS_RUNNING
    clients: tuple[Holder, ...]


class MigDisabled(Struct, frozen=True):
    """MIG is off, and the request forbids to switch it on."""

    code: ClassVar = ReasonCode.MIG_DISABLED


class MemoryUnknown(Struct, frozen=True):
    """A percentage is wanted of a GPU whose memory is unknown."""

    code: ClassVar = ReasonCode.UNKNOWN_MODEL


State = (
    NotServed
    | Unavailable
    | NotMigCapable
    | AwaitsReset
    | ModeLags
    | WrongMode
    | ClientsRunning
    | MigDisabled
    | MemoryUnknown
)


# -- no instances of that size can be had; `wanted` is the request in words, as `2 x 8000 MiB` --


class NoTemplates(Struct, frozen=True):
    """The table from `source` has no template for a GPU of this `name`."""

    code: ClassVar = ReasonCode.UNKNOWN_MODEL
    name: str | None
    source: str


class UnknownProfile(Struct, frozen=True):
    """The GPU has no such `profile`, but the `known` ones."""

    code: ClassVar = ReasonCode.UNKNOWN_PROFILE
    profile: str
    known: tuple[str, ...]


class NoProfileThatLarge(Struct, frozen=True):
    """No profile has the `size` of one instance."""

    code: ClassVar = ReasonCode.NO_PROFILE_THAT_LARGE
    size: str
    largest_mib: int


class NoTemplateThatLarge(Struct, frozen=True):
    """No template of the model holds the request, even on an empty GPU."""

    code: ClassVar = ReasonCode.NO_PROFILE_THAT_LARGE
    wanted: str
    largest_mib: int


class IdleInTheWay(Struct, frozen=True):
    """Idle instances that hamid did not make lie where the request would go."""

    code: ClassVar = ReasonCode.FOREIGN_INSTANCE
    wanted: str
    instances: tuple[Instance, ...]


class NoFreePlacement(Struct, frozen=True):
    """No legal placement is free beside the instances in use."""

    code: ClassVar = ReasonCode.NO_FREE_PLACEMENT
    wanted: str
    used: tuple[Instance, ...]


class NoFreeSlots(Struct, frozen=True):
    """The best template still holds only `free` of `count` instances beside those in use."""

    code: ClassVar = ReasonCode.NO_FREE_PLACEMENT
    wanted: str
    template: Mapping[str, int]
    free: int
    count: int
    used: tuple[Instance, ...]


class TemplateInUse(Struct, frozen=True):
    """Instances in use hold the GPU to its template; one of `needed` would hold the request."""

    code: ClassVar = ReasonCode.TEMPLATE_IN_USE
    wanted: str
    used: tuple[Instance, ...]
    needed: tuple[Mapping[str, int], ...]


Shortage = (
    NoTemplates
    | UnknownProfile
    | NoProfileThatLarge
    | NoTemplateThatLarge
    | IdleInTheWay
    | NoFreePlacement
    | NoFreeSlots
    | TemplateInUse
)


# -- no share of that size can be had --


class TotalUnknown(Struct, frozen=True):
    """Nothing can be shared of a memory whose size is unknown."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE


class SplitUsedUp(Struct, frozen=True):
    """As many containers as the split count allows share the GPU."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE
    users: int


class MemoryTaken(Struct, frozen=True):
    """Less memory is free than is wanted."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE
    free_mib: int
    total_mib: int
    wanted_mib: int


class CoresTaken(Struct, frozen=True):
    """Less of the cores is free than is wanted."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE
    free_percent: int
    total_percent: int
    wanted_percent: int


class CoresShared(Struct, frozen=True):
    """All cores are wanted, and other containers share the GPU."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE


class CoresPromised(Struct, frozen=True):
    """All cores are promised, so that a container without a share of them cannot run."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE


FullShare = TotalUnknown | SplitUsedUp | MemoryTaken | CoresTaken | CoresShared | CoresPromised

GpuFacts = Exclusion | State | Shortage | FullShare


class Reason(Struct, frozen=True, kw_only=True):
    """Why one GPU (by index) cannot serve the request.

    `blockers` is the smallest set of used instances whose end would make the request fit, or, where they are `movable`,
    whose move within the GPU.
    """

    gpu: int
    facts: GpuFacts
    blockers: tuple[Instance, ...] = ()
    movable: bool = False

    @property
    def code(self) -> ReasonCode:
        """The kind of reason."""
        return self.facts.code
