# SPDX-License-Identifier: Apache-2.0
"""Whether a GPU may serve MIG requests at all, before anything is placed on it."""

from hamid.core.hardware.gpu import Gpu, Health
from hamid.core.planner.plan import Reason, ReasonCode
from hamid.core.planner.request import Request
from hamid.core.planner.templates import contains_tokens, name_tokens

_Problem = tuple[ReasonCode, str, str]


def obstacle(gpu: Gpu, request: Request, selected: frozenset[int]) -> Reason | None:
    """What keeps this GPU from serving the request whatever its size, or None. `selected` are the indices of `-i`."""
    problem = _excluded(gpu, request, selected) or _state_problem(gpu, request)
    if problem is None:
        return None
    code, message, hint = problem
    return Reason(gpu=gpu.index, code=code, message=message, hint=hint)


def _excluded(gpu: Gpu, request: Request, selected: frozenset[int]) -> _Problem | None:
    if gpu.index not in selected:
        return (ReasonCode.EXCLUDED, "not among the GPUs that were asked for", "leave out -i, or name this GPU too")
    tokens = name_tokens(gpu.name or "")
    if request.models and not any(contains_tokens(tokens, name_tokens(model)) for model in request.models):
        wanted = " or ".join(request.models)
        return (ReasonCode.EXCLUDED, f"it is no {wanted} but {gpu.name or 'unnamed'}", "leave out --model")
    return None


def _state_problem(gpu: Gpu, request: Request) -> _Problem | None:
    if gpu.health is not Health.OK:
        code = ReasonCode.LOST if gpu.health is Health.LOST else ReasonCode.UNREADABLE
        return (code, f"the driver does not serve this GPU: {gpu.note}", "see dmesg for its Xid; reset or replace it")
    if not gpu.mig_capable:
        return (ReasonCode.NOT_MIG_CAPABLE, "this GPU has no MIG", "use hami-core sharing on it")
    if gpu.mode_changing:
        wanted = "enabled" if gpu.mig_pending else "disabled"
        return (
            ReasonCode.MODE_PENDING,
            f"MIG mode is pending to be {wanted}",
            "the change takes effect at the next GPU reset or reboot, once nothing uses the GPU",
        )
    if request.memory is not None and request.memory.percent is not None and gpu.memory_mib is None:
        return (ReasonCode.UNKNOWN_MODEL, "its total memory is unknown, so a percentage means nothing", "ask in MiB")
    return None if gpu.mig_enabled else _mode_problem(gpu, request)


def _mode_problem(gpu: Gpu, request: Request) -> _Problem | None:
    """Why MIG mode cannot be switched on for this request, or None."""
    if gpu.clients:
        names = ", ".join(str(holder) for holder in gpu.clients)
        return (
            ReasonCode.CLIENTS_RUNNING,
            f"MIG is off and cannot be switched on while {names} use the GPU",
            "wait until they end, or choose another GPU",
        )
    if not request.enable_mig:
        return (ReasonCode.MIG_DISABLED, "MIG is off and --no-enable was given", "leave out --no-enable")
    return None
