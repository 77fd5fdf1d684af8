# SPDX-License-Identifier: Apache-2.0
"""The loop that drives the engine: start, reconcile, reload. Calls run on threads, so the event loop never blocks.

`beat` is updated also while a driver call hangs, so the watchdog tests the event loop and this supervisor, not the
driver. One turn runs at a time; a turn that hangs is waited for.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final, TypeVar

from hamid.core.config.config import Config
from hamid.core.errors import HamiError, OtherMaster
from hamid.engine.node import Node
from hamid.engine.reload import Reloader
from hamid.node.ports import Logger
from hamid.node.system import memory

Result = TypeVar("Result")

_BEAT_SECONDS: Final = 3.0
# Seconds between attempts while the driver is missing.
_RETRY_SECONDS: Final = 2.0
_POLL_FILES_SECONDS: Final = 2.0
_TIDY_SECONDS: Final = 60.0


class Supervisor:
    """Runs the engine of one node. `started` is set once every claim was restored.

    `gate` gives a reason, in words, why nothing may be changed here yet.
    """

    def __init__(
        self, node: Node, reloader: Reloader, log: Logger, *, changed: Callable[[], None], gate: Callable[[], str] = str
    ) -> None:
        self._node = node
        self._gate = gate
        self._reloader = reloader
        self._log = log
        self._changed = changed
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self.started = asyncio.Event()
        self.beat = time.monotonic()
        self._tidied = self.beat
        self.waits_for = ""
        self.needs_restart: tuple[str, ...] = ()

    def reload_soon(self) -> None:
        """Request a reload (SIGHUP)."""
        self._asked.set()

    async def run(self) -> None:
        """Until cancelled: start the node, then reconcile it, earlier if an Allocate waits for it."""
        loop = asyncio.get_running_loop()
        self._node.listen_for_hurry(lambda: _tell(loop, self._hurried))
        while not self.started.is_set():
            if await self._guarded(self._start):
                self.started.set()
            else:
                await self._rest(_RETRY_SECONDS)
        while True:
            began = time.monotonic()
            await self._guarded(self._node.reconcile)
            await self._tidy(began)
            await self._rest(max(self._reloader.config.reconcile_seconds - (time.monotonic() - began), 0.0))

    async def _tidy(self, now: float) -> None:
        if now >= self._tidied + _TIDY_SECONDS:
            self._tidied = now
            await asyncio.to_thread(memory.give_back)

    async def watch_files(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Until cancelled: reload when files changed or on request; `before` and `after` notify the manager."""
        while True:
            asked = await self._wait_for_request()
            if not asked and not await asyncio.to_thread(self._reloader.changed):
                continue
            before()
            await self._reload()
            after()

    async def _wait_for_request(self) -> bool:
        try:
            await asyncio.wait_for(self._asked.wait(), _POLL_FILES_SECONDS)
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _reload(self) -> None:
        counters = self._node.parts.counters
        outcome = await asyncio.to_thread(self._reloader.reload)
        if outcome is None:
            counters.add("hamid_config_reloads_total", result="refused")
            return
        self.needs_restart = outcome.waiting
        names = [each.name for each in outcome.changed]
        counters.add("hamid_config_reloads_total", result="applied" if names else "unchanged")
        self._log.info("config_reloaded", changed=names, needs_restart=list(outcome.waiting))
        if names:
            await self._beating(lambda: self._reconfigure(outcome.config))
            self._changed()

    def _reconfigure(self, config: Config) -> None:
        """Apply the configuration; a driver that does not answer is logged and does not prevent it."""
        try:
            messages = self._node.reconfigure(config)
        except HamiError as error:
            self._log.warning("modes_not_set", error=error.message, hint=error.hint)
            return
        for text in messages:
            self._log.info("mode_changed", text=text)

    def _start(self) -> list[str]:
        reason = self._gate()
        if reason:
            self._node.observe()
            raise OtherMaster(reason, "stop it, or start hamid with --takeover")
        messages = self._node.start()
        for text in messages:
            self._log.info("restored", text=text)
        return messages

    async def _guarded(self, call: Callable[[], object]) -> bool:
        """Run the call on a thread. An error of the node becomes `waits_for`, and is logged when it changes."""
        try:
            await self._beating(call)
        except HamiError as error:
            if error.message != self.waits_for:
                self._log.warning("node_waits", error=error.message, hint=error.hint)
            self.waits_for = error.message
            return False
        if self.waits_for:
            self._log.info("node_goes_on", waited_for=self.waits_for)
        self.waits_for = ""
        return True

    async def _beating(self, call: Callable[[], Result]) -> Result:
        """Run the call on a thread, and keep beating until it ends."""
        work = asyncio.ensure_future(asyncio.to_thread(call))
        while not work.done():
            self.beat = time.monotonic()
            await asyncio.wait({work}, timeout=_BEAT_SECONDS)
        self.beat = time.monotonic()
        return work.result()

    async def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._hurried.is_set():
            self.beat = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), min(left, _BEAT_SECONDS))
        self._hurried.clear()


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    # A thread may outlive the loop.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)
