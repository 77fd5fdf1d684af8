# SPDX-License-Identifier: Apache-2.0
"""Decides what a GPU can be used for, and why not; every caller uses these functions.

First the GPU itself: whether the driver serves it, whether its instances and its MIG mode can change. Then the
conditions of an operator's request and of a container's. Each answer is a reason as a value; the caller makes the text.
"""

from typing import Final

from msgspec import Struct

from hamid.core.hardware.gpu import Gpu, Health
from hamid.core.planner.reasons import (
    Avoided,
    AwaitsReset,
    ClientsRunning,
    Exclusion,
    FilteredOut,
    GpuFacts,
    MemoryUnknown,
    MigDisabled,
    ModeLags,
    NotMigCapable,
    NotSelected,
    NotServed,
    OtherModel,
    OtherType,
    OtherUuid,
    Reason,
    State,
    Unavailable,
    WrongMode,
)
from hamid.core.planner.request import Request
from hamid.core.planner.templates import contains_tokens, name_tokens

# The mode of a GPU that gives instances; all other modes give shares.
MIG_MODE: Final = "mig"


class HasInstances(Struct, frozen=True):
    """The GPU has `count` instances, which switching MIG mode off would end."""

    count: int


# -- the GPU itself --


def not_served(gpu: Gpu) -> NotServed | None:
    """The driver does not serve the GPU, so nothing is known of it and nothing is changed on it."""
    return None if gpu.health is Health.OK else NotServed(gpu.health, gpu.note)


def is_served(gpu: Gpu) -> bool:
    """True when the driver serves the GPU."""
    return not_served(gpu) is None


def no_mig(gpu: Gpu) -> NotMigCapable | None:
    """The GPU can have no instances."""
    return None if gpu.mig_capable else NotMigCapable()


def awaits_reset(gpu: Gpu) -> AwaitsReset | None:
    """The next reset switches the GPU's MIG mode; its instances are not changed before."""
    return AwaitsReset(enabled=gpu.mig_pending) if gpu.mode_changing else None


def clients_running(gpu: Gpu) -> ClientsRunning | None:
    """Processes use the GPU outside every instance, so its MIG mode cannot be switched."""
    return ClientsRunning(gpu.clients) if gpu.clients else None


def switch_obstacle(gpu: Gpu, *, enabled: bool) -> NotMigCapable | HasInstances | ClientsRunning | None:
    """What prevents switching MIG mode on (`enabled`) or off without harm."""
    if enabled and (problem := no_mig(gpu)) is not None:
        return problem
    if not enabled and gpu.instances:
        return HasInstances(len(gpu.instances))
    return clients_running(gpu)


def can_restore(gpu: Gpu) -> bool:
    """True when missing instances can be created on this GPU without harm: MIG mode is on, or can be switched on."""
    if not is_served(gpu):
        return False
    return gpu.mig_enabled or not (awaits_reset(gpu) or switch_obstacle(gpu, enabled=True))


# -- for an operator's request --


def obstacle(gpu: Gpu, request: Request, selected: frozenset[int]) -> Reason | None:
    """Why this GPU cannot serve a request of any size, or None. `selected` are the GPUs that `-i` names, by index."""
    facts = _excluded(gpu, request, selected) or _state_problem(gpu, request)
    return None if facts is None else Reason(gpu=gpu.index, facts=facts)


def _excluded(gpu: Gpu, request: Request, selected: frozenset[int]) -> Exclusion | None:
    if gpu.index not in selected:
        return NotSelected()
    tokens = name_tokens(gpu.name or "")
    if request.models and not any(contains_tokens(tokens, name_tokens(model)) for model in request.models):
        return OtherModel(request.models, gpu.name)
    return None


def _state_problem(gpu: Gpu, request: Request) -> State | None:
    problem = not_served(gpu) or no_mig(gpu) or awaits_reset(gpu)
    if problem is not None:
        return problem
    if request.memory is not None and request.memory.percent is not None and gpu.memory_mib is None:
        return MemoryUnknown()
    return None if gpu.mig_enabled else _mode_problem(gpu, request)


def _mode_problem(gpu: Gpu, request: Request) -> State | None:
    """Why MIG mode cannot be switched on for this request, or None."""
    return clients_running(gpu) or (None if request.enable_mig else MigDisabled())


# -- for a container, for which the mode is never changed --


class Selection(Struct, frozen=True, kw_only=True):
    """A pod's selection of GPUs: the mode, parts of names, and whole uuids; an empty `use_` means any."""

    mode: str
    use_types: tuple[str, ...] = ()
    avoid_types: tuple[str, ...] = ()
    use_uuids: tuple[str, ...] = ()
    avoid_uuids: tuple[str, ...] = ()


def container_obstacle(gpu: Gpu, selection: Selection, *, mode: str, served: bool, problem: str) -> Reason | None:
    """Why this GPU cannot serve the container's request at any size, or None.

    `mode` is the GPU's configured mode, `served` says whether the filters let hamid serve it, and `problem` is why
    hamid starts nothing new on it, or empty.
    """
    facts = (
        _out_of_service(gpu, served=served, problem=problem)
        or _wrong_mode(gpu, mode, selection.mode)
        or _unwanted(gpu, selection)
    )
    return None if facts is None else Reason(gpu=gpu.index, facts=facts)


def _out_of_service(gpu: Gpu, *, served: bool, problem: str) -> GpuFacts | None:
    if not served:
        return FilteredOut()
    return not_served(gpu) or (Unavailable(problem) if problem else None)


def _wrong_mode(gpu: Gpu, configured: str, wanted: str) -> State | None:
    if (configured == MIG_MODE) != (wanted == MIG_MODE):
        return WrongMode(configured, wanted)
    ready = gpu.mig_enabled and not gpu.mode_changing if wanted == MIG_MODE else not gpu.mig_enabled
    return None if ready else ModeLags(enabled=wanted != MIG_MODE)


def _unwanted(gpu: Gpu, selection: Selection) -> Exclusion | None:
    name = (gpu.name or "").upper()
    if selection.use_uuids and gpu.uuid not in selection.use_uuids:
        return OtherUuid()
    if gpu.uuid in selection.avoid_uuids:
        return Avoided("uuid")
    if selection.use_types and not any(each.upper() in name for each in selection.use_types):
        return OtherType(selection.use_types)
    return Avoided("type") if any(each.upper() in name for each in selection.avoid_types) else None
