# SPDX-License-Identifier: Apache-2.0
"""Kubelet's device checkpoint: which container holds which ids, and the very answer of the plugin that gave them.

The file is kubelet's own state, in two forms: ids as a list before 1.20, by NUMA node since. Its checksum is over Go's
rendering of the structures; kubelet itself goes on without the file when that does not match, so it is not asked for.
"""

import os
from collections.abc import Iterator

import msgspec
from google.protobuf.message import DecodeError
from msgspec import Struct

from hamid.core.claims.checkpoint import Remembered, RememberedList
from hamid.core.claims.grant import DeviceNode, Grant, Mount
from hamid.node.kubelet.api import deviceplugin_pb2

NAME = "kubelet_internal_checkpoint"
# A node of 16 GPUs and 110 pods has less than 1 MiB.
_MAX_BYTES = 32 * 1024 * 1024


class _DeviceEntryJson(Struct, rename="pascal"):
    pod_uid: str = msgspec.field(name="PodUID")
    container_name: str
    resource_name: str
    device_ids: dict[str, list[str] | None] | list[str] | None = msgspec.field(name="DeviceIDs", default=None)
    alloc_resp: bytes | None = None


class _DataJson(Struct, rename="pascal"):
    pod_device_entries: list[_DeviceEntryJson] | None = None


class _FileJson(Struct, rename="pascal"):
    data: _DataJson


class Checkpoint:
    """The checkpoint in kubelet's folder of device plugins; thread-safe."""

    def __init__(self, plugin_folder: str) -> None:
        self._path = f"{plugin_folder.rstrip('/')}/{NAME}"

    def remembered(self) -> RememberedList:
        """What kubelet keeps now."""
        try:
            return RememberedList(entries=tuple(_entries(_read(self._path))), complete=True)
        except OSError as error:
            problem = error.strerror or str(error)
        except (msgspec.MsgspecError, DecodeError, UnicodeError, ValueError, RecursionError) as error:
            problem = f"not a kubelet checkpoint: {str(error)[:200]}"
        return RememberedList(complete=False, problem=f"'{self._path}': {problem}")


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    return data


def _entries(data: bytes) -> Iterator[Remembered]:
    for each in msgspec.json.decode(data, type=_FileJson).data.pod_device_entries or []:
        ids = each.device_ids or []
        lists = list(ids.values()) if isinstance(ids, dict) else [ids]
        yield Remembered(
            pod_uid=each.pod_uid,
            container=each.container_name,
            resource=each.resource_name,
            device_ids=tuple(sorted(device for some in lists for device in some or ())),
            granted=_grant(each.alloc_resp or b""),
        )


def _grant(data: bytes) -> Grant:
    answer = deviceplugin_pb2.ContainerAllocateResponse.FromString(data)
    return Grant(
        claim=0,
        envs=dict(answer.envs),
        mounts=tuple(
            Mount(container_path=each.container_path, host_path=each.host_path, read_only=each.read_only)
            for each in answer.mounts
        ),
        devices=tuple(
            DeviceNode(container_path=each.container_path, host_path=each.host_path, permissions=each.permissions)
            for each in answer.devices
        ),
        annotations=dict(answer.annotations),
        cdi=tuple(each.name for each in answer.cdi_devices),
    )
