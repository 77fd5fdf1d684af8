# SPDX-License-Identifier: Apache-2.0
"""Keeps hamid registered as a device plugin: its socket exists, kubelet has registered it, and its stream is open.

A loop checks this four times a second with three calls of stat, about 0.02 % of a core. inotify would need watches on
folders that are removed and recreated, and would not notice more. If kubelet restarted and wiped the folder, another
program removed the socket, or kubelet closed its stream, the next round repairs it.

Streams of an old server end before hamid registers again: since 1.25, when a stream ends, kubelet disconnects the
current client of that resource name.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc
from msgspec import Struct
from msgspec.structs import replace

from hamid.core.errors import HamiError, KubeletFailed
from hamid.node.kubelet.api import deviceplugin_pb2
from hamid.node.kubelet.grpc import OPTIONS, PLUGIN_VERSION, listens
from hamid.node.ports import Logger
from hamid.serve.plugin import socket as plugin_socket
from hamid.serve.plugin.feed import DeviceFeed
from hamid.serve.plugin.service import GpuNode, PluginCalls, PluginService, handlers, options

POLL_SECONDS: Final = 0.5
REGISTER_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 10.0
# With one poll and one registration, both stay below the 2 s within which hamid must be registered again.
_LONGEST_PAUSE_SECONDS: Final = 1.0
# Seconds that kubelet has to open its stream after a registration, or to reopen one that ended.
_STREAM_SECONDS: Final = 2.0
# Kubelet's goroutine that sees an old stream end must have run before the new client gets the name.
_SETTLE_SECONDS: Final = 0.1
# Ten times what kubelet sends for the largest node; each byte may take a hundred once it is read.
_MOST_BYTES: Final = 1024 * 1024


class PluginState(Struct, frozen=True, kw_only=True):
    """The state for STATUS, /readyz and metrics; `since` is the Unix time of the current registration."""

    socket: str
    registered: bool = False
    since: float | None = None
    problem: str = ""
    registrations: int = 0


class _Server(Struct, frozen=True, kw_only=True):
    """One server generation: its socket, and the service whose streams it feeds."""

    grpc: grpc.aio.Server
    service: PluginService
    path: str
    identity: plugin_socket.Identity


def socket_name(resource: str) -> str:
    """The file name of hamid's socket in kubelet's device-plugins folder."""
    return f"hami-{resource.rpartition('/')[2]}.sock"


class DevicePlugin:
    """Serves `resource` from a socket in `kubelet_dir`/device-plugins.

    `gate` is called on a thread before every registration. If it returns a reason, hamid does not register.
    """

    def __init__(
        self,
        node: GpuNode,
        *,
        kubelet_dir: Path,
        log: Logger,
        resource: str = "nvidia.com/gpu",
        gate: Callable[[], str] = str,
    ) -> None:
        self._folder = os.path.join(kubelet_dir, "device-plugins")
        self._kubelet = os.path.join(self._folder, "kubelet.sock")
        self._log = log
        self._resource = resource
        self._name = socket_name(resource)
        self._gate = gate
        self._calls = PluginCalls(node, log)
        self._feed = DeviceFeed(lambda: self._calls.run(node.devices))
        self._server: _Server | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._registered_with: plugin_socket.Identity | None = None
        self._streams_seen = 0.0
        self._pause = 0.0
        self._not_before = 0.0
        self._draining = False
        self.state = PluginState(socket=os.path.join(self._folder, self._name))

    def changed(self) -> None:
        """Notify that the devices may have changed; callable from any thread."""
        self._feed.changed()

    def configure(self, *, deadline_seconds: float, preferred_allocation: bool) -> None:
        """Set the options for the next call; a change makes hamid register again."""
        self._calls.deadline_seconds = deadline_seconds
        if self._calls.preferred_allocation != preferred_allocation:
            self._calls.preferred_allocation = preferred_allocation
            self._registered_with = None

    async def run(self) -> None:
        """Serves until cancelled, then drains."""
        feed = asyncio.create_task(self._feed_forever(), name="device feed")
        try:
            while not self._draining:
                await self._converge()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            feed.cancel()
            await self.drain(DRAIN_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Close streams, end or undo calls in progress within `seconds`, remove the socket. May be called again."""
        self._draining = True
        self._retire(seconds)
        if self._ending:
            await asyncio.wait(self._ending, timeout=seconds + 1.0)
        self._calls.close()
        self.state = replace(self.state, registered=False, since=None)

    async def _feed_forever(self) -> None:
        while True:
            try:
                await self._feed.run()
            except HamiError as error:
                self._log.warning("devices_unknown", error=error.message, hint=error.hint)
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
                self._feed.changed()

    async def _converge(self) -> None:
        now = time.monotonic()
        if now < self._not_before:
            return
        try:
            if await self._prepare(now):
                await self._register()
        except HamiError as error:
            self._pause = min(self._pause * 2 or POLL_SECONDS, _LONGEST_PAUSE_SECONDS)
            self._not_before = now + self._pause
            self._lost(error.message)

    async def _prepare(self, now: float) -> bool:
        """Make sure that the socket exists; True if kubelet has not registered hamid."""
        if plugin_socket.identity(self._folder) is None:
            self._retire(DRAIN_SECONDS)
            raise KubeletFailed(f"'{self._folder}' does not exist: kubelet has not run on this node yet")
        if self._server is None or plugin_socket.identity(self._server.path) != self._server.identity:
            await self._serve()
        kubelet = plugin_socket.identity(self._kubelet)
        if kubelet is None:
            self._registered_with = None
            raise KubeletFailed(f"kubelet is not running: '{self._kubelet}' does not exist")
        if self._feed.streams:
            self._streams_seen = now
        elif self._registered_with is not None and now - self._streams_seen > _STREAM_SECONDS:
            self._registered_with = None
            self._lost("kubelet closed the device stream")
        return kubelet != self._registered_with

    async def _serve(self) -> None:
        """Start a new generation in place of one whose socket is gone."""
        self._retire(DRAIN_SECONDS)
        self._registered_with = None
        temporary, final = plugin_socket.place(self._folder, self._name)
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MOST_BYTES)))
        service = PluginService(self._calls, self._feed)
        server.add_generic_rpc_handlers((handlers(service),))
        try:
            server.add_insecure_port(f"unix:{temporary}")
            await server.start()
            # Not `replace_file`: a socket has no content; kubelet must find only one that is served.
            os.chmod(temporary, 0o600)
            os.rename(temporary, final)
        except (RuntimeError, OSError) as error:
            await server.stop(0)
            raise KubeletFailed(f"cannot serve on '{final}': {error}") from error
        found = plugin_socket.identity(final)
        if found is None:
            await server.stop(0)
            raise KubeletFailed(f"'{final}' was removed while it was being created")
        self._server = _Server(grpc=server, service=service, path=final, identity=found)
        self._log.info("plugin_serving", socket=final)
        await asyncio.sleep(_SETTLE_SECONDS)

    def _retire(self, seconds: float) -> None:
        """End the current server: streams now, calls in progress within `seconds`, its socket if unchanged."""
        server, self._server = self._server, None
        if server is None:
            return
        plugin_socket.remove(server.path, server.identity)
        server.service.closing.set()
        self._feed.wake()
        task = asyncio.create_task(_stop(server.grpc, seconds), name="plugin server ends")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _register(self) -> None:
        reason = await self._calls.run(self._gate)
        if reason:
            raise KubeletFailed(reason)
        kubelet = plugin_socket.identity(self._kubelet)
        if kubelet is None or not listens(self._kubelet):
            raise KubeletFailed(f"kubelet does not answer on '{self._kubelet}'")
        self._streams_seen = time.monotonic() + REGISTER_SECONDS
        await _announce(
            self._kubelet, self._name, self._resource, options(preferred_allocation=self._calls.preferred_allocation)
        )
        self._streams_seen = time.monotonic()
        self._registered_with = kubelet
        self._pause = 0.0
        registrations = self.state.registrations + 1
        self.state = replace(self.state, registered=True, since=time.time(), problem="", registrations=registrations)
        self._log.info("registered", resource=self._resource, socket=self._name, registrations=registrations)

    def _lost(self, problem: str) -> None:
        if problem != self.state.problem:
            self._log.warning("not_registered", problem=problem)
        self.state = replace(self.state, registered=False, since=None, problem=problem)


async def _stop(server: grpc.aio.Server, seconds: float) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await server.stop(seconds)


async def _announce(kubelet: str, endpoint: str, resource: str, ours: deviceplugin_pb2.DevicePluginOptions) -> None:
    """Register with kubelet. Raises KubeletFailed."""
    request = deviceplugin_pb2.RegisterRequest(
        version=PLUGIN_VERSION, endpoint=endpoint, resource_name=resource, options=ours
    )
    async with grpc.aio.insecure_channel(f"unix:{kubelet}", options=OPTIONS) as channel:
        call = channel.unary_unary(
            "/v1beta1.Registration/Register",
            request_serializer=deviceplugin_pb2.RegisterRequest.SerializeToString,
            response_deserializer=deviceplugin_pb2.Empty.FromString,
        )
        try:
            await call(request, timeout=REGISTER_SECONDS)
        except grpc.RpcError as error:
            raise KubeletFailed(f"kubelet refused to register '{resource}': {error.details()}") from error
