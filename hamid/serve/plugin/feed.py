# SPDX-License-Identifier: Apache-2.0
"""The device list for kubelet: read again after each change and sent to every open stream."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from hamid.core.claims.device_ids import PluginDevice
from hamid.node.kubelet.api import deviceplugin_pb2


class DeviceFeed:
    """`read` returns the current devices. No work is done until something changes."""

    def __init__(self, read: Callable[[], Awaitable[tuple[PluginDevice, ...]]]) -> None:
        self._read = read
        self._dirty = asyncio.Event()
        self._dirty.set()
        self._devices: tuple[PluginDevice, ...] | None = None
        self._answer: deviceplugin_pb2.ListAndWatchResponse | None = None
        self._streams: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def streams(self) -> int:
        """The number of open streams."""
        return len(self._streams)

    def changed(self) -> None:
        """Notify that the devices may have changed; callable from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._dirty.set)

    async def run(self) -> None:
        """Keeps the list fresh until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            devices = await self._read()
            if devices != self._devices:
                self._devices, self._answer = devices, _message(devices)
                self.wake()

    def wake(self) -> None:
        """Wake every stream."""
        for event in self._streams:
            event.set()

    async def follow(self, closing: asyncio.Event) -> AsyncIterator[deviceplugin_pb2.ListAndWatchResponse]:
        """The current list, then each new one, until `closing` is set and the feed is woken."""
        event = asyncio.Event()
        self._streams.add(event)
        sent = None
        try:
            while not closing.is_set():
                event.clear()
                if self._answer is not None and self._answer is not sent:
                    sent = self._answer
                    yield sent
                else:
                    await event.wait()
        finally:
            self._streams.discard(event)


def _message(devices: tuple[PluginDevice, ...]) -> deviceplugin_pb2.ListAndWatchResponse:
    return deviceplugin_pb2.ListAndWatchResponse(devices=[_device(each) for each in devices])


def _device(device: PluginDevice) -> deviceplugin_pb2.Device:
    topology = None
    if device.numa_node is not None and device.numa_node >= 0:
        topology = deviceplugin_pb2.TopologyInfo(nodes=[deviceplugin_pb2.NUMANode(ID=device.numa_node)])
    health = "Healthy" if device.healthy else "Unhealthy"
    return deviceplugin_pb2.Device(ID=device.device_id, health=health, topology=topology)
