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
    """Why a GPU cannot serve a request now; a closed list, stable for programs.

    The last three apply only to containers, so `hamictl mig plan` never shows them.
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
    """The GPU's model `name` matches none of the `models` of --model."""

    code: ClassVar = ReasonCode.EXCLUDED
    models: tuple[str, ...]
    name: str | None


class FilteredOut(Struct, frozen=True):
    """The configuration's filters exclude the GPU."""

    code: ClassVar = ReasonCode.EXCLUDED


class OtherUuid(Struct, frozen=True):
    """The pod selects other GPUs by UUID."""

    code: ClassVar = ReasonCode.EXCLUDED


class OtherType(Struct, frozen=True):
    """The pod requires one of these `types`."""

    code: ClassVar = ReasonCode.EXCLUDED
    types: tuple[str, ...]


class Avoided(Struct, frozen=True):
    """The pod avoids the GPU by its `attribute`, uuid or type."""

    code: ClassVar = ReasonCode.EXCLUDED
    attribute: str


Exclusion = NotSelected | OtherModel | FilteredOut | OtherUuid | OtherType | Avoided


# -- the GPU's state rules it out for requests of any size --


class NotServed(Struct, frozen=True):
    """The driver does not serve the GPU; `note` is the driver's message."""

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
    """The next reset will switch MIG mode on (`enabled`) or off."""

    code: ClassVar = ReasonCode.MODE_PENDING
    enabled: bool


class ModeLags(Struct, frozen=True):
    """The configured mode needs the opposite MIG mode; `enabled` is the current one."""

    code: ClassVar = ReasonCode.MODE_PENDING
    enabled: bool


class WrongMode(Struct, frozen=True):
    """The GPU's `configured` mode differs from the `wanted` one."""

    code: ClassVar = ReasonCode.WRONG_MODE
    configured: str
    wanted: str


class ClientsRunning(Struct, frozen=True):
    """MIG is off, and these `clients` prevent switching it on."""

    code: ClassVar = ReasonCode.CLIENTS_RUNNING
    clients: tuple[Holder, ...]


class MigDisabled(Struct, frozen=True):
    """MIG is off, and the request does not allow switching it on."""

    code: ClassVar = ReasonCode.MIG_DISABLED


class MemoryUnknown(Struct, frozen=True):
    """The request is a percentage, and the GPU's memory is unknown."""

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


# -- the GPU cannot provide instances of that size; `wanted` is the request as text: `2 x 8000 MiB` --


class NoTemplates(Struct, frozen=True):
    """The table from `source` has no template for a GPU of this `name`."""

    code: ClassVar = ReasonCode.UNKNOWN_MODEL
    name: str | None
    source: str


class UnknownProfile(Struct, frozen=True):
    """The GPU has no such `profile`; it has the `known` ones."""

    code: ClassVar = ReasonCode.UNKNOWN_PROFILE
    profile: str
    known: tuple[str, ...]


class NoProfileThatLarge(Struct, frozen=True):
    """No profile has the requested `size`."""

    code: ClassVar = ReasonCode.NO_PROFILE_THAT_LARGE
    size: str
    largest_mib: int


class NoTemplateThatLarge(Struct, frozen=True):
    """No template of the model holds the request, even on an empty GPU."""

    code: ClassVar = ReasonCode.NO_PROFILE_THAT_LARGE
    wanted: str
    largest_mib: int


class IdleInTheWay(Struct, frozen=True):
    """Idle instances that hamid did not create occupy the placements that the request needs."""

    code: ClassVar = ReasonCode.FOREIGN_INSTANCE
    wanted: str
    instances: tuple[Instance, ...]


class NoFreePlacement(Struct, frozen=True):
    """No legal placement is free beside the instances in use."""

    code: ClassVar = ReasonCode.NO_FREE_PLACEMENT
    wanted: str
    used: tuple[Instance, ...]


class NoFreeSlots(Struct, frozen=True):
    """The best template can still hold only `free` of `count` instances beside those in use."""

    code: ClassVar = ReasonCode.NO_FREE_PLACEMENT
    wanted: str
    template: Mapping[str, int]
    free: int
    count: int
    used: tuple[Instance, ...]


class TemplateInUse(Struct, frozen=True):
    """Instances in use fix the GPU's template; one of the `needed` templates would hold the request."""

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


# -- the GPU cannot provide a share of that size --


class TotalUnknown(Struct, frozen=True):
    """The GPU's memory is unknown, so it cannot be shared."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE


class SplitUsedUp(Struct, frozen=True):
    """The GPU already has as many `users` as the split count allows."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE
    users: int


class MemoryTaken(Struct, frozen=True):
    """Less memory is free than requested."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE
    free_mib: int
    total_mib: int
    wanted_mib: int


class CoresTaken(Struct, frozen=True):
    """Fewer cores are free than requested."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE
    free_percent: int
    total_percent: int
    wanted_percent: int


class CoresShared(Struct, frozen=True):
    """The request needs all cores, but other containers share the GPU."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE


class CoresPromised(Struct, frozen=True):
    """All cores are allocated, so a container without a share of them cannot run."""

    code: ClassVar = ReasonCode.NO_FREE_SHARE


FullShare = TotalUnknown | SplitUsedUp | MemoryTaken | CoresTaken | CoresShared | CoresPromised

GpuFacts = Exclusion | State | Shortage | FullShare


class Reason(Struct, frozen=True, kw_only=True):
    """Why one GPU (by index) cannot serve the request.

    `blockers` is the smallest set of used instances that must end to make the request fit, or, if they are `movable`,
    that must move within the GPU.
    """

    gpu: int
    facts: GpuFacts
    blockers: tuple[Instance, ...] = ()
    movable: bool = False

    @property
    def code(self) -> ReasonCode:
        """The kind of reason."""
        return self.facts.code
