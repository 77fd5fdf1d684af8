# SPDX-License-Identifier: Apache-2.0
"""The stand-in's gRPC side: Registration, the connection to the plugin, and pod-resources."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc

from hamid.node.kubelet.api import deviceplugin_pb2, podresources_v1_pb2, podresources_v1alpha1_pb2
from hamid.node.kubelet.api.deviceplugin_pb2_grpc import (
    DevicePluginStub,
    add_RegistrationServicer_to_server,
)
from hamid.node.kubelet.api.podresources_v1_pb2_grpc import (
    add_PodResourcesListerServicer_to_server as add_lister_v1,
)
from hamid.node.kubelet.api.podresources_v1alpha1_pb2_grpc import (
    add_PodResourcesListerServicer_to_server as add_lister_v1alpha1,
)
from hamid.node.kubelet.grpc import OPTIONS
from hamid.testing.kubelet_devices import AdmissionError

PRESTART_SECONDS: Final = 30.0
_DIAL_SECONDS: Final = 10.0
Update = Callable[[dict[str, bool]], None]


class Plugin:
    """A client of one registered plugin: its stream runs on a thread until either side ends it."""

    def __init__(self, path: Path, offered: Any, *, old: bool) -> None:
        self._channel = grpc.insecure_channel(f"unix:{path}", options=OPTIONS)
        try:
            grpc.channel_ready_future(self._channel).result(timeout=_DIAL_SECONDS)
            self.stub = DevicePluginStub(self._channel)
            # Kubelets before 1.25 take what Register offered; later ones ask.
            asked = (
                offered if old else self.stub.GetDevicePluginOptions(deviceplugin_pb2.Empty(), timeout=_DIAL_SECONDS)
            )
        except (grpc.RpcError, grpc.FutureTimeoutError):
            self._channel.close()
            raise
        self.options = asked
        self._thread: threading.Thread | None = None

    def follow(self, update: Update, ended: Callable[[], None]) -> None:
        """Every list goes to `update`; `ended` is called once, when the stream is over."""
        self._thread = threading.Thread(target=self._follow, args=(update, ended), name="list-and-watch", daemon=True)
        self._thread.start()

    def _follow(self, update: Update, ended: Callable[[], None]) -> None:
        try:
            for answer in self.stub.ListAndWatch(deviceplugin_pb2.Empty()):
                update({device.ID: device.health == "Healthy" for device in answer.devices})
        except (grpc.RpcError, ValueError):
            # The stream ended, or the channel was closed before it began: what kubelet logs and goes on from.
            pass
        finally:
            ended()

    def prefer(self, available: list[str], must_include: list[str], size: int) -> list[str]:
        """The plugin's choice, nothing when it offers none."""
        if not self.options.get_preferred_allocation_available:
            return []
        request = deviceplugin_pb2.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=must_include, allocation_size=size
        )
        answer = _ask(
            self.stub.GetPreferredAllocation, deviceplugin_pb2.PreferredAllocationRequest(container_requests=[request])
        )
        return [each for part in answer.container_responses[:1] for each in part.deviceIDs]

    def allocate(self, ids: list[str]) -> Any:
        """The answer for one container."""
        request = deviceplugin_pb2.ContainerAllocateRequest(devices_ids=ids)
        answer = _ask(self.stub.Allocate, deviceplugin_pb2.AllocateRequest(container_requests=[request]))
        return answer.container_responses[0]

    def prestart(self, ids: list[str]) -> None:
        """Asked before each start of a container, if the plugin wants it."""
        if self.options.pre_start_required:
            request = deviceplugin_pb2.PreStartContainerRequest(devices_ids=ids)
            _ask(self.stub.PreStartContainer, request, timeout=PRESTART_SECONDS)

    def close(self) -> None:
        """The connection ends, and the stream with it."""
        self._channel.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=_DIAL_SECONDS)


def _ask(call: Any, request: Any, **options: Any) -> Any:
    """The answer; raises AdmissionError when the connection was closed meanwhile, else what gRPC raises."""
    try:
        return call(request, **options)
    except ValueError as error:
        raise AdmissionError("no connection to the plugin: it was closed") from error


class Registration:
    """Kubelet's Registration service; `connect(name, endpoint, options)` takes the plugin in or raises ValueError."""

    def __init__(self, connect: Callable[[str, str, Any], None], *, old: bool) -> None:
        self._connect = connect
        self._old = old

    def Register(self, request: Any, context: Any) -> Any:  # gRPC's name
        """As kubelet: an old one answers first and dials afterwards, a newer one dials before it answers."""
        if request.version != "v1beta1":
            context.abort(grpc.StatusCode.UNKNOWN, f"requested API version {request.version!r} is not supported")
        if "/" not in request.resource_name:
            context.abort(grpc.StatusCode.UNKNOWN, f"the ResourceName {request.resource_name!r} is invalid")
        values = (request.resource_name, request.endpoint, request.options)
        if self._old:
            threading.Thread(target=self._connect_quietly, args=values, daemon=True).start()
            return deviceplugin_pb2.Empty()
        try:
            self._connect(*values)
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"failed to dial device plugin: {type(error).__name__}")
        return deviceplugin_pb2.Empty()

    def _connect_quietly(self, name: str, endpoint: str, options: Any) -> None:
        try:
            self._connect(name, endpoint, options)
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            print(f"kubelet stand-in: cannot connect to {endpoint}: {type(error).__name__}")


class Lister:
    """pod-resources List in one version; `module` holds its messages, `pods` gives (namespace, pod, containers)."""

    def __init__(self, module: Any, pods: Callable[[], list[tuple[str, str, dict[str, dict[str, list[str]]]]]]) -> None:
        self._module = module
        self._pods = pods

    def List(self, request: Any, context: Any) -> Any:
        """What every container holds."""
        answer = self._module.ListPodResourcesResponse()
        for namespace, name, containers in self._pods():
            pod = answer.pod_resources.add(name=name, namespace=namespace)
            for container, resources in containers.items():
                part = pod.containers.add(name=container)
                for resource, ids in resources.items():
                    part.devices.add(resource_name=resource, device_ids=ids)
        return answer


def serve_registration(path: Path, registration: Registration) -> Any:
    """A running server on kubelet.sock."""
    return _serve(path, lambda server: add_RegistrationServicer_to_server(registration, server))


def serve_pod_resources(path: Path, pods: Callable[[], Any], *, old: bool) -> Any:
    """A running server on pod-resources; an `old` one knows v1alpha1 alone."""

    def add(server: Any) -> None:
        add_lister_v1alpha1(Lister(podresources_v1alpha1_pb2, pods), server)
        if not old:
            add_lister_v1(Lister(podresources_v1_pb2, pods), server)

    return _serve(path, add)


def _serve(path: Path, add: Callable[[Any], None]) -> Any:
    server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
    add(server)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    return server
