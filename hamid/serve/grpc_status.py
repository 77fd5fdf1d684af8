# SPDX-License-Identifier: Apache-2.0
"""Converts the engine's results to kubelet's messages, and refusals to gRPC statuses.

An error becomes a refusal first (hamid.core.claims.failure).

The text of a status becomes the pod's event, which a user reads with kubectl describe. An event holds 1,024 bytes
including kubelet's own words: first what happened, then what to do, then as many reasons as fit.
"""

from collections.abc import Mapping
from typing import Final

import grpc

from hamid.core.claims.failure import refusal_of
from hamid.core.claims.grant import Grant
from hamid.core.claims.pod_text import PodText, for_pod
from hamid.core.errors import HamiError
from hamid.core.planner.refusal import Refusal, RefusalCode
from hamid.node.kubelet.api import deviceplugin_pb2

MAX_TEXT: Final = 600

STATUS: Final[Mapping[RefusalCode, grpc.StatusCode]] = {
    RefusalCode.NO_FIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RefusalCode.AMBIGUOUS: grpc.StatusCode.FAILED_PRECONDITION,
    RefusalCode.NO_POD: grpc.StatusCode.NOT_FOUND,
    RefusalCode.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalCode.UNKNOWN_DEVICE: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalCode.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    RefusalCode.LIBRARY: grpc.StatusCode.FAILED_PRECONDITION,
    RefusalCode.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    RefusalCode.DRIVER: grpc.StatusCode.INTERNAL,
    RefusalCode.LEDGER: grpc.StatusCode.UNAVAILABLE,
    RefusalCode.LOST: grpc.StatusCode.DATA_LOSS,
}


def of_refusal(refusal: Refusal) -> tuple[grpc.StatusCode, str]:
    """Status and text of a refusal."""
    return STATUS[refusal.code], _text(for_pod(refusal))


def of_error(error: HamiError) -> tuple[grpc.StatusCode, str]:
    """Status and text of a HamiError: those of the refusal that it becomes."""
    return of_refusal(refusal_of(error))


def of_grants(grants: tuple[Grant, ...]) -> deviceplugin_pb2.AllocateResponse:
    """The response to an Allocate, with one part per requested container."""
    return deviceplugin_pb2.AllocateResponse(container_responses=[_container(grant) for grant in grants])


def _text(words: PodText) -> str:
    text = f"{words.message}; {words.hint}" if words.hint else words.message
    left_out = 0
    for reason in words.reasons:
        longer = f"{text}; {reason}"
        if len(longer.encode()) > MAX_TEXT:
            left_out += 1
        else:
            text = longer
    if left_out:
        text += f"; {left_out} more reasons in hamid's log"
    # Trailing control characters would break the line that kubelet logs.
    return " ".join(text.encode()[: MAX_TEXT + 40].decode(errors="ignore").split())


def _container(grant: Grant) -> deviceplugin_pb2.ContainerAllocateResponse:
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
