# SPDX-License-Identifier: Apache-2.0
"""Why a GPU is out before anything is placed on it: for an operator's request, and for a container."""

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


# -- for an operator's request --


def obstacle(gpu: Gpu, request: Request, selected: frozenset[int]) -> Reason | None:
    """What keeps this GPU from serving the request whatever its size, or None. `selected` are the indices of `-i`."""
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
    if gpu.health is not Health.OK:
        return NotServed(gpu.health, gpu.note)
    if not gpu.mig_capable:
        return NotMigCapable()
    if gpu.mode_changing:
        return AwaitsReset(enabled=gpu.mig_pending)
    if request.memory is not None and request.memory.percent is not None and gpu.memory_mib is None:
        return MemoryUnknown()
    return None if gpu.mig_enabled else _mode_problem(gpu, request)


def _mode_problem(gpu: Gpu, request: Request) -> State | None:
    """Why MIG mode cannot be switched on for this request, or None."""
    if gpu.clients:
        return ClientsRunning(gpu.clients)
    return None if request.enable_mig else MigDisabled()


# -- for a container, for which the mode is never changed --


class Selection(Struct, frozen=True, kw_only=True):
    """What a container's pod says about GPUs: the mode, parts of names, and whole uuids; empty `use_` means any."""

    mode: str
    use_types: tuple[str, ...] = ()
    avoid_types: tuple[str, ...] = ()
    use_uuids: tuple[str, ...] = ()
    avoid_uuids: tuple[str, ...] = ()


def container_obstacle(gpu: Gpu, selection: Selection, *, mode: str, served: bool, problem: str) -> Reason | None:
    """What keeps this GPU from serving the container whatever its size, or None.

    By the configuration the GPU is shared in this `mode`, and `served` to kubelet or not; `problem` is what hamid has
    against it, or nothing.
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
    if gpu.health is not Health.OK:
        return NotServed(gpu.health, gpu.note)
    return Unavailable(problem) if problem else None


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
