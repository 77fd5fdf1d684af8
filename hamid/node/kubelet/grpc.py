# SPDX-License-Identifier: Apache-2.0
"""Calls to gRPC servers on kubelet's unix sockets: kubelet's own, and those of other device plugins.

Every call has a deadline and a bound on the answer's size; a socket is dialled for one call and left again, so that a
restarted kubelet is found at once.
"""

import os
import socket
from typing import Any, Final, TypeAlias

import grpc

from hamid.core.errors import KubeletFailed
from hamid.node.kubelet.api import deviceplugin_pb2, podresources_v1_pb2, podresources_v1alpha1_pb2

# Neither grpc nor the generated protobuf classes have types; every untyped value of theirs is named by one of these.
Message: TypeAlias = Any
MessageModule: TypeAlias = Any
Channel: TypeAlias = Any

PLUGIN_VERSION: Final = "v1beta1"
# A node of 16 GPUs and 110 pods answers with less than 200 KiB.
_MAX_ANSWER: Final = 16 * 1024 * 1024
# What the address of a unix socket can hold (unix(7)); gRPC fails on longer ones with no useful word.
MAX_SOCKET_PATH: Final = 107
OPTIONS: Final = (
    # Kubelet's server refuses the authority that gRPC makes out of a socket's path (RFC 3986 allows no %2F there).
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", _MAX_ANSWER),
    ("grpc.enable_http_proxy", 0),
    # Without a pool of its own a channel would share, and wait for, an older one's connection.
    ("grpc.use_local_subchannel_pool", 1),
)
_EMPTY = deviceplugin_pb2.Empty


def listens(path: str) -> bool:
    """True when a process accepts connections on this unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(path)
        except BlockingIOError:
            # Its queue is full: it is there, and busy.
            return True
        except OSError:
            return False
    return True


def advertised_ids(path: str, timeout_seconds: float) -> list[str]:
    """The first list of device ids of the plugin on this socket. Raises KubeletFailed."""
    answer = deviceplugin_pb2.ListAndWatchResponse
    with _channel(path) as channel:
        stream = channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=_EMPTY.SerializeToString,
            response_deserializer=answer.FromString,
        )(_EMPTY(), timeout=timeout_seconds)
        try:
            first = next(stream, None)
        except grpc.RpcError as error:
            raise _failed(path, error) from error
        finally:
            stream.cancel()
    return [device.ID for device in first.devices] if first is not None else []


def pod_resources(path: str, timeout_seconds: float) -> Message:
    """ListPodResourcesResponse of v1, or of v1alpha1 where kubelet knows only that. Raises KubeletFailed."""
    try:
        return _list(path, "v1", podresources_v1_pb2, timeout_seconds)
    except KubeletFailed as error:
        if not error.unimplemented:
            raise
    return _list(path, "v1alpha1", podresources_v1alpha1_pb2, timeout_seconds)


def _list(path: str, version: str, module: MessageModule, timeout_seconds: float) -> Message:
    method = f"/{version}.PodResourcesLister/List"
    return _call(path, method, module.ListPodResourcesRequest(), module.ListPodResourcesResponse, timeout_seconds)


def _channel(path: str) -> Channel:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise KubeletFailed(f"the path of socket '{path}' is longer than {MAX_SOCKET_PATH} bytes")
    return grpc.insecure_channel(f"unix:{path}", options=OPTIONS)


def _call(path: str, method: str, request: Message, answer: type[Message], timeout_seconds: float) -> Message:
    with _channel(path) as channel:
        call = channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            return call(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            raise _failed(path, error) from error


def _failed(path: str, error: grpc.RpcError) -> KubeletFailed:
    code = error.code()
    text = str(error.details() or "").splitlines()
    said = f": {text[0][:200]}" if text else ""
    return KubeletFailed(f"'{path}' answered {code.name}{said}", unimplemented=code is grpc.StatusCode.UNIMPLEMENTED)
