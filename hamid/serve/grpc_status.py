# SPDX-License-Identifier: Apache-2.0
"""What the engine says, in kubelet's messages; and the one table from refusals and errors to gRPC status.

The text of a status becomes the pod's event, which a user reads with kubectl describe and which holds 1,024 bytes with
kubelet's own words around it: what happened first, what to do next, reasons as far as there is room.
"""

from typing import Any, Final

import grpc

from hamid.core.claims.grant import Denial, DenialCode, Grant
from hamid.core.errors import (
    DriverHung,
    DriverMissing,
    HamiError,
    InUse,
    LedgerBusy,
    LedgerFailed,
    LedgerUntrusted,
    LibraryMissing,
    ModePending,
    NotPermitted,
    UsageError,
)
from hamid.node.kubelet.api import deviceplugin_pb2

Status = grpc.StatusCode
MAX_TEXT: Final = 600

_BY_DENIAL: Final[dict[DenialCode, Any]] = {
    DenialCode.NO_FIT: Status.RESOURCE_EXHAUSTED,
    DenialCode.AMBIGUOUS: Status.FAILED_PRECONDITION,
    DenialCode.NO_POD: Status.NOT_FOUND,
    DenialCode.BAD_REQUEST: Status.INVALID_ARGUMENT,
    DenialCode.UNKNOWN_DEVICE: Status.INVALID_ARGUMENT,
    DenialCode.NOT_READY: Status.UNAVAILABLE,
    DenialCode.LIBRARY: Status.FAILED_PRECONDITION,
    DenialCode.DEADLINE: Status.DEADLINE_EXCEEDED,
    DenialCode.DRIVER: Status.INTERNAL,
    DenialCode.LEDGER: Status.UNAVAILABLE,
    DenialCode.READ_ONLY: Status.FAILED_PRECONDITION,
    DenialCode.LOST: Status.DATA_LOSS,
}
_BY_ERROR: Final[tuple[tuple[type[HamiError], Any], ...]] = (
    (UsageError, Status.INVALID_ARGUMENT),
    (NotPermitted, Status.PERMISSION_DENIED),
    (DriverHung, Status.DEADLINE_EXCEEDED),
    (DriverMissing, Status.UNAVAILABLE),
    (LedgerBusy, Status.UNAVAILABLE),
    (LedgerFailed, Status.UNAVAILABLE),
    (LedgerUntrusted, Status.FAILED_PRECONDITION),
    (LibraryMissing, Status.FAILED_PRECONDITION),
    (ModePending, Status.FAILED_PRECONDITION),
    (InUse, Status.FAILED_PRECONDITION),
    (HamiError, Status.INTERNAL),
)


def of_denial(denial: Denial) -> tuple[Any, str]:
    """Status and text of a refusal."""
    return _BY_DENIAL[denial.code], _text(denial.message, denial.hint, denial.reasons)


def of_error(error: HamiError) -> tuple[Any, str]:
    """Status and text of an error of ours."""
    status = next(status for kind, status in _BY_ERROR if isinstance(error, kind))
    return status, _text(error.message, error.hint, ())


def of_grants(grants: tuple[Grant, ...]) -> Any:
    """The answer to an Allocate, one part for each container asked for."""
    return deviceplugin_pb2.AllocateResponse(container_responses=[_container(grant) for grant in grants])


def _text(message: str, hint: str, reasons: tuple[str, ...]) -> str:
    text = f"{message}; {hint}" if hint else message
    left_out = 0
    for reason in reasons:
        longer = f"{text}; {reason}"
        if len(longer.encode()) > MAX_TEXT:
            left_out += 1
        else:
            text = longer
    if left_out:
        text += f"; {left_out} more reasons in hamid's log"
    # Trailing control characters would break the line that kubelet logs.
    return " ".join(text.encode()[: MAX_TEXT + 40].decode(errors="ignore").split())


def _container(grant: Grant) -> Any:
    return deviceplugin_pb2.ContainerAllocateResponse(
        envs=dict(grant.envs),
        mounts=[
            deviceplugin_pb2.Mount(
                container_path=mount.container_path, host_path=mount.host_path, read_only=mount.read_only
            )
            for mount in grant.mounts
        ],
        devices=[
            deviceplugin_pb2.DeviceSpec(
                container_path=node.container_path, host_path=node.host_path, permissions=node.permissions
            )
            for node in grant.devices
        ],
        annotations=dict(grant.annotations),
        cdi_devices=[deviceplugin_pb2.CDIDevice(name=name) for name in grant.cdi],
    )
