# SPDX-License-Identifier: Apache-2.0
"""A device plugin over a node of plain values, on a thread of its own."""

import asyncio
import itertools
import threading

from hamid.core.claims.device_ids import PluginDevice
from hamid.core.claims.grant import Grant
from support.waiting import LIMIT_SECONDS


class PlainNode:
    """Grants every id once, remembers what it was asked; `delay` seconds pass in each allocate."""

    def __init__(self, count=14):
        self.listed = tuple(
            PluginDevice(device_id=f"GPU-0-{i}", gpu_uuid="GPU-0", healthy=True, numa_node=None) for i in range(count)
        )
        self.granted = {}
        self.started = []
        self.undone = []
        self.numbers = itertools.count(1)
        self.refused = {}
        self.delay = threading.Event()
        self.slow = False
        self.lock = threading.Lock()

    def devices(self):
        return self.listed

    def prefer(self, available, must_include, size):
        return (*must_include, *sorted(set(available) - set(must_include), reverse=True))[:size]

    def allocate(self, device_ids, *, deadline_seconds=None):
        if self.slow:
            self.delay.wait(deadline_seconds)
        for each in device_ids:
            if each in self.refused:
                return self.refused[each]
        with self.lock:
            claim = next(self.numbers)
            self.granted[claim] = device_ids
        return Grant(claim=claim, envs={"NVIDIA_VISIBLE_DEVICES": ",".join(device_ids)})

    def claim_name(self, claim):
        return f"pod:{claim}"

    def undo(self, claim):
        with self.lock:
            self.undone.append(claim)
            del self.granted[claim]

    def prestart(self, device_ids):
        self.started.append(device_ids)
        return next((self.refused[each] for each in device_ids if each in self.refused), None)


class PluginThread:
    """A device plugin on a thread with a loop of its own."""

    def __init__(self, make):
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(make,))
        self.thread.start()
        assert self.ready.wait(LIMIT_SECONDS)

    def _run(self, make):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve(make))
        self.loop.close()

    async def _serve(self, make):
        self.plugin = make()
        self.task = asyncio.create_task(self.plugin.run())
        self.ready.set()
        try:
            await self.task
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.task.cancel)
            self.thread.join(LIMIT_SECONDS)
        assert not self.thread.is_alive()
