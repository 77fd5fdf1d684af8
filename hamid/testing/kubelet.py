# SPDX-License-Identifier: Apache-2.0
"""A kubelet stand-in: what a device plugin meets on a node, without Kubernetes.

`Kubelet(root)` keeps kubelet's files and sockets below `root` (as /var/lib/kubelet): Registration, admission in
kubelet's order, device accounting, the checkpoint, pod-resources, a list of pods as `pods.json`, restarts that wipe
the folder. `old=True` is a kubelet of 1.20: it never asks for options, and its pod-resources knows v1alpha1 alone.
`python -m hamid.testing.kubelet --help` runs one from the shell.
"""

import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import grpc

from hamid.node.kubelet.api import deviceplugin_pb2
from hamid.testing import kubelet_files as files
from hamid.testing.kubelet_devices import AdmissionError, ContainerSpec, Devices, HeldDevices, PodSpec
from hamid.testing.kubelet_sockets import Plugin, Registration, serve_pod_resources, serve_registration

__all__ = ["AdmissionError", "ContainerSpec", "Kubelet", "PodSpec"]

_PodState = dict[str, Any]


class Kubelet:
    """A context; its methods may be called from any thread, admissions happen one after the other."""

    def __init__(self, root: Path, *, resource: str = "nvidia.com/gpu", old: bool = False, seed: int = 0) -> None:
        self.root = root
        self.folder = root / "device-plugins"
        self.pods_file = root / "pods.json"
        self.resource = resource
        self.registrations = 0
        self.streams_ended = 0
        self._old = old
        self._devices = Devices(resource, seed)
        self._plugin: Plugin | None = None
        self._pods: dict[str, tuple[PodSpec, _PodState]] = {}
        self._held: list[HeldDevices] = []
        self._lock = threading.RLock()
        self._admission = threading.Lock()
        self._news = threading.Condition()
        self._servers: list[Any] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Wipes the folder's sockets, reads the checkpoint, serves."""
        for each in (self.folder, self.root / "pod-resources"):
            each.mkdir(parents=True, exist_ok=True, mode=0o750)
            files.wipe_sockets(each)
        self._devices = Devices(self.resource)
        self._held = files.read_checkpoint(self.folder / files.CHECKPOINT)
        self._write_pods()
        registration = Registration(self._connect, old=self._old)
        resources = self.root / "pod-resources" / "kubelet.sock"
        self._servers = [
            serve_pod_resources(resources, self._resources, old=self._old),
            serve_registration(self.folder / "kubelet.sock", registration),
        ]

    def stop(self) -> None:
        """As a killed kubelet: connections end, files stay; its own sockets go with its servers."""
        for server in self._servers:
            server.stop(0).wait()
        self._servers = []
        self._disconnect()

    def restart(self) -> None:
        """Down and up again; pods go on."""
        self.stop()
        self.start()

    def wait_for(self, healthy: int, timeout_seconds: float = 60.0) -> float:
        """Seconds until the plugin offered at least so many healthy devices. Raises TimeoutError."""
        began = time.monotonic()
        with self._news:
            if not self._news.wait_for(lambda: len(self._devices.healthy) >= healthy, timeout_seconds):
                raise TimeoutError(f"{len(self._devices.healthy)} healthy devices after {timeout_seconds} s")
        return time.monotonic() - began

    @property
    def healthy(self) -> set[str]:
        """The healthy device ids of now."""
        return set(self._devices.healthy)

    def add_pod(self, spec: PodSpec, *, start: bool = True) -> str:
        """Admits a pod and starts its containers; gives its uid. Raises AdmissionError, and the pod is Failed then."""
        uid = spec.uid or str(uuid.uuid4())
        status: _PodState = {"phase": "Pending", "created": _now(), "containers": [], "deleting": None}
        with self._lock:
            self._pods[uid] = (spec, status)
            self._write_pods()
        try:
            with self._admission:
                self._admit(uid, spec)
        except (AdmissionError, grpc.RpcError) as error:
            with self._lock:
                status["phase"] = "Failed"
                self._drop(uid)
                self._write_pods()
            raise error if isinstance(error, AdmissionError) else AdmissionError(_words(error)) from error
        if start:
            for container in spec.ordered():
                self.start_container(uid, container.name)
        return uid

    def start_container(self, uid: str, name: str) -> dict[str, str]:
        """PreStartContainer, then the container runs; gives its environment. Raises AdmissionError."""
        held = [each for each in self._held if each.pod_uid == uid and each.container == name]
        for each in held:
            try:
                self._connected().prestart(each.ids)
            except grpc.RpcError as error:
                text = f"device plugin PreStartContainer rpc failed with err: {_words(error)}"
                raise AdmissionError(text) from error
        with self._lock:
            spec, status = self._pods[uid]
            container = next(each for each in spec.containers if each.name == name)
            ended = container.init and not container.restartable
            state = {"terminated": {"exitCode": 0}} if ended else {"running": {"startedAt": _now()}}
            _set_state(status, name, state)
            if not container.init:
                status["phase"] = "Running"
            self._write_pods()
        return {**container.env, **{key: value for each in held for key, value in _decode(each).envs.items()}}

    def restart_container(self, uid: str, name: str, exit_code: int = 1) -> dict[str, str]:
        """The container exits and is started again: no Allocate, PreStartContainer only."""
        with self._lock:
            _set_state(self._pods[uid][1], name, {"terminated": {"exitCode": exit_code}})
            self._write_pods()
        return self.start_container(uid, name)

    def finish_pod(self, uid: str, phase: str = "Succeeded") -> None:
        """All containers end; the pod stays in the list as terminal, its devices are free."""
        with self._lock:
            _, status = self._pods[uid]
            status["phase"] = phase
            for each in status["containers"]:
                each["state"] = {"terminated": {"exitCode": 0}}
            self._drop(uid)
            self._write_pods()

    def delete_pod(self, uid: str, *, grace: bool = False) -> None:
        """The pod is gone, or with `grace` only marked as being deleted."""
        with self._lock:
            if grace:
                self._pods[uid][1]["deleting"] = _now()
            else:
                del self._pods[uid]
                self._drop(uid)
            self._write_pods()

    def grant(self, uid: str, container: str) -> Any:
        """The plugin's ContainerAllocateResponse for a container."""
        return next(_decode(each) for each in self._held if (each.pod_uid, each.container) == (uid, container))

    def device_ids(self, uid: str, container: str) -> list[str]:
        """The ids that a container holds."""
        return [x for each in self._held if (each.pod_uid, each.container) == (uid, container) for x in each.ids]

    def pod_list(self) -> bytes:
        """The v1 PodList of now."""
        with self._lock:
            return files.pod_list(self._pods)

    def _admit(self, uid: str, spec: PodSpec) -> None:
        reusable: set[str] = set()
        for container in spec.ordered():
            wanted = int(container.limits.get(self.resource, "0"))
            if not wanted:
                continue
            ids = self._allocate(uid, container, wanted, reusable)
            keeps = not container.init or container.restartable
            reusable = reusable - set(ids) if keeps else reusable | set(ids)
            self._checkpoint()

    def _allocate(self, uid: str, container: ContainerSpec, wanted: int, reusable: set[str]) -> list[str]:
        plugin = self._connected()
        used = {each for held in self._held for each in held.ids}
        ids = self._devices.choose(wanted, reusable, used, plugin.prefer)
        answer = plugin.allocate(ids)
        with self._lock:
            self._held.append(
                HeldDevices(
                    pod_uid=uid,
                    container=container.name,
                    resource=self.resource,
                    ids=ids,
                    answer=answer.SerializeToString(),
                )
            )
        return ids

    def _connect(self, name: str, endpoint: str, options: Any) -> None:
        plugin = Plugin(self.folder / endpoint, options, old=self._old)
        if name != self.resource:
            plugin.close()
            return
        with self._lock:
            self._plugin = plugin
            self.registrations += 1
        plugin.follow(self._update, lambda: self._ended(plugin))

    def _ended(self, plugin: Plugin) -> None:
        """A stream ended; newer kubelets then disconnect the client that has the name now (handler.go, 1.25 on)."""
        with self._lock:
            is_obsolete = self._old and self._plugin is not plugin
        if not is_obsolete:
            self._disconnect()
        with self._lock:
            self.streams_ended += 1

    def _disconnect(self) -> None:
        with self._lock:
            plugin, self._plugin = self._plugin, None
        with self._news:
            self._devices.lost()
            self._news.notify_all()
        if plugin is not None:
            plugin.close()

    def _update(self, health: dict[str, bool]) -> None:
        with self._news:
            self._devices.update(health)
            self._news.notify_all()
        self._checkpoint()

    def _connected(self) -> Plugin:
        plugin = self._plugin
        if plugin is None:
            raise AdmissionError(f"Allocate failed due to no connection to the plugin of {self.resource}")
        return plugin

    def _drop(self, uid: str) -> None:
        self._held = [each for each in self._held if each.pod_uid != uid]
        self._checkpoint()

    def _checkpoint(self) -> None:
        with self._lock:
            registered = {self.resource: sorted(self._devices.healthy)} if self._devices.known else {}
            data = files.checkpoint(self._held, registered, numa=not self._old)
            if self.folder.is_dir():
                files.write_whole(self.folder / files.CHECKPOINT, data)

    def _write_pods(self) -> None:
        files.write_whole(self.pods_file, files.pod_list(self._pods))

    def _resources(self) -> list[tuple[str, str, dict[str, dict[str, list[str]]]]]:
        with self._lock:
            return [
                (spec.namespace, spec.name, {c.name: self._of(uid, c.name) for c in spec.containers})
                for uid, (spec, status) in self._pods.items()
                if status["phase"] in {"Pending", "Running"}
            ]

    def _of(self, uid: str, container: str) -> dict[str, list[str]]:
        return {e.resource: e.ids for e in self._held if (e.pod_uid, e.container) == (uid, container)}


def _decode(held: HeldDevices) -> Any:
    return deviceplugin_pb2.ContainerAllocateResponse.FromString(held.answer)


def _set_state(status: _PodState, name: str, state: dict[str, Any]) -> None:
    others = [each for each in status["containers"] if each["name"] != name]
    before = next((each for each in status["containers"] if each["name"] == name), None)
    restarts = before["restartCount"] + ("running" in state) if before else 0
    status["containers"] = [*others, {"name": name, "restartCount": restarts, "state": state}]


def _words(error: Any) -> str:
    code = error.code().name.title().replace("_", "")
    return f"rpc error: code = {code} desc = {error.details()}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    from hamid.testing.kubelet_shell import main

    main()
