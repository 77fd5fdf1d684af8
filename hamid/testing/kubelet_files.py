# SPDX-License-Identifier: Apache-2.0
"""The files that a kubelet leaves on its node: the device checkpoint in both of its forms, and a list of pods."""

import base64
import json
import os
import stat
import zlib
from pathlib import Path
from typing import Any

from hamid.node.files.replace import replace_file
from hamid.testing.kubelet_devices import ContainerSpec, HeldDevices, PodSpec

CHECKPOINT = "kubelet_internal_checkpoint"


def write_whole(path: Path, data: bytes) -> None:
    """The file holds the data or what it held before."""
    replace_file(str(path), data, durable=False)


def wipe_sockets(folder: Path) -> None:
    """What kubelet does to its folder when it starts: every socket goes, files stay."""
    for entry in os.scandir(folder):
        if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
            Path(entry.path).unlink()


def checkpoint(held: list[HeldDevices], registered: dict[str, list[str]], *, numa: bool) -> bytes:
    """The device checkpoint; `numa` since kubelet 1.20, without it as before.

    The checksum is one of ours: kubelet's is a hash over Go's own rendering of its structures, and hamid ignores it.
    """
    data = {
        "PodDeviceEntries": [_entry(each, numa=numa) for each in held] or None,
        "RegisteredDevices": registered,
    }
    text = json.dumps(data, separators=(",", ":"))
    return json.dumps({"Data": data, "Checksum": zlib.crc32(text.encode())}, separators=(",", ":")).encode()


def read_checkpoint(path: Path) -> list[HeldDevices]:
    """What a restarted kubelet still knows."""
    if not path.exists():
        return []
    entries = json.loads(path.read_bytes())["Data"]["PodDeviceEntries"] or []
    return [_held(each) for each in entries]


def pod_list(pods: dict[str, tuple[PodSpec, dict[str, Any]]]) -> bytes:
    """A v1 PodList as kubelet's /pods gives it; the second value is each pod's status."""
    items = [_pod(uid, spec, status) for uid, (spec, status) in pods.items()]
    return json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}).encode()


def _entry(held: HeldDevices, *, numa: bool) -> dict[str, Any]:
    return {
        "PodUID": held.pod_uid,
        "ContainerName": held.container,
        "ResourceName": held.resource,
        "DeviceIDs": {"-1": held.ids} if numa else held.ids,
        "AllocResp": base64.b64encode(held.answer).decode(),
    }


def _held(entry: dict[str, Any]) -> HeldDevices:
    ids = entry["DeviceIDs"]
    return HeldDevices(
        pod_uid=entry["PodUID"],
        container=entry["ContainerName"],
        resource=entry["ResourceName"],
        ids=[each for node in ids.values() for each in node] if isinstance(ids, dict) else ids,
        answer=base64.b64decode(entry["AllocResp"]),
    )


def _pod(uid: str, spec: PodSpec, status: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": spec.name,
        "namespace": spec.namespace,
        "uid": uid,
        "annotations": spec.annotations,
        "creationTimestamp": status["created"],
    }
    if status.get("deleting"):
        metadata["deletionTimestamp"] = status["deleting"]
    names = {each.name for each in spec.containers if each.init}
    return {
        "metadata": metadata,
        "spec": {
            "initContainers": [_container(each) for each in spec.containers if each.init],
            "containers": [_container(each) for each in spec.containers if not each.init],
        },
        "status": {
            "phase": status["phase"],
            "initContainerStatuses": [each for each in status["containers"] if each["name"] in names],
            "containerStatuses": [each for each in status["containers"] if each["name"] not in names],
        },
    }


def _container(spec: ContainerSpec) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": spec.name,
        "resources": {"limits": spec.limits, "requests": spec.limits},
        "env": [{"name": name, "value": value} for name, value in spec.env.items()],
    }
    if spec.restartable:
        container["restartPolicy"] = "Always"
    return container
