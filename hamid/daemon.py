# SPDX-License-Identifier: Apache-2.0
"""hamid's life cycle: arguments, one TaskGroup, signals, readiness, shutdown.

hamid is READY once it holds lock, configuration and ledger and its loops run. If the driver, kubelet or a port is
missing, hamid waits and shows the reason in STATUS and /readyz; it does not exit.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Final

from hamid.commandline import Options, Setup, parse_arguments, prepare
from hamid.core.claims.which_container import identifier
from hamid.core.config.config import Config, LogForm, PodsSource
from hamid.core.errors import HamiError
from hamid.core.exits import Exit, exit_code
from hamid.core.hardware.health import HealthRules, rules
from hamid.core.library.plan import changes
from hamid.engine.health import HealthMonitor
from hamid.engine.library.sync import sync
from hamid.engine.node import Node
from hamid.engine.other_managers import OtherManagers
from hamid.engine.pods import share_folders
from hamid.engine.reload import Reloader
from hamid.node.kubelet.checkpoint import Checkpoint
from hamid.node.kubelet.holdings import KubeletHoldings
from hamid.node.kubelet.pod_source import pod_source
from hamid.node.ports import Logger
from hamid.node.system import logs, memory
from hamid.node.system.systemd import Notifier
from hamid.serve.file_metrics import FileMetricsReader
from hamid.serve.plugin.registration import DevicePlugin, socket_name
from hamid.serve.supervisor import Supervisor
from hamid.serve.web import Web
from hamid.status import DaemonStatus, StatusSources

_STATUS_SECONDS: Final = 2.0
# Together below the 10 s within which calls in progress end or are undone.
_STOP_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 3.0
_VERSION: Final = importlib.metadata.version("hami-node")


def main() -> None:
    """The entry point `hamid`."""
    memory.use_few_arenas()
    status = run(parse_arguments(sys.argv[1:]))
    sys.stdout.flush()
    sys.stderr.flush()
    # A normal exit would wait for every thread, including one that hangs in the driver.
    os._exit(status)


def run(options: Options) -> int:
    """Run hamid until it ends; return the exit status."""
    try:
        with prepare(options) as setup:
            log = logs.setup(LogForm.AUTO, "info", os.environ)
            reloader = Reloader(setup.paths, os.environ, log)
            config = reloader.start()
            if options.check_config:
                print("the configuration is valid", file=sys.stdout)  # the answer of a command
                return Exit.OK
            log = logs.setup(config.log_format, config.log_level.value, os.environ)
            with _open(setup, reloader, log) as node:
                return _once(node, setup, log) if options.once else _live(_Life(node, setup, reloader, log))
    except HamiError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        print(f"hamid: {error.message}{hint}", file=sys.stderr)  # there may be no log yet
        return exit_code(error)


@contextlib.contextmanager
def _open(setup: Setup, reloader: Reloader, log: Logger) -> Iterator[Node]:
    config = reloader.config
    known = config.pods_source is not PodsSource.NONE
    node = Node(
        setup.paths,
        config,
        log=log,
        identify=identifier(lambda: reloader.config, known=lambda: known),
        pods=pod_source(config, setup.kubelet_dir),
        holdings=KubeletHoldings(setup.kubelet_dir, config.kubelet_settle_seconds),
        memory=Checkpoint(f"{setup.kubelet_dir}/device-plugins"),
    )
    try:
        _install_library(share_folders.library_dir(setup.paths, config), log)
        yield node
    finally:
        node.close(_CLOSE_SECONDS)


def _install_library(folder: str, log: Logger) -> None:
    """Update the installed libvgpu if this package includes one; on failure the installed one is kept."""
    try:
        report = sync(folder)
    except HamiError as error:
        log.info("library_not_synced", text=error.message, hint=error.hint)
    else:
        log.info("library_synced", version=report.version, steps=len(changes(report.steps)))


def _live(life: "_Life") -> int:
    """Run the event loop. asyncio.run would wait at the end for threads that hang in the driver."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(life.run())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _once(node: Node, setup: Setup, log: Logger) -> int:
    """Observe, adopt, restore and reconcile once; raises the first error."""
    for text in node.start():
        log.info("restored", text=text)
    node.reconcile()
    view = node.view
    log.info("once", gpus=len(view.gpus), claims=len(view.claims), root=setup.paths.root)
    return Exit.OK


class _Life:
    """hamid between READY and its end."""

    def __init__(self, node: Node, setup: Setup, reloader: Reloader, log: Logger) -> None:
        config = reloader.config
        gate = _gate(setup, config.resources.count)
        self._node = node
        self._setup = setup
        self._reloader = reloader
        self._log = log
        self._notifier = Notifier.of(os.environ)
        self._stop = asyncio.Event()
        self._plugin = DevicePlugin(
            node, kubelet_dir=Path(setup.kubelet_dir), log=log, resource=config.resources.count, gate=gate
        )
        self._supervisor = Supervisor(node, reloader, log, changed=self._changed, gate=gate)
        self._health = HealthMonitor(node, lambda: _health_rules(reloader.config), log)
        self._status = DaemonStatus(
            StatusSources(
                node=node,
                reloader=reloader,
                supervisor=self._supervisor,
                plugin=self._plugin,
                files=FileMetricsReader(setup.paths),
                web_problem=lambda: self._web.problem if self._web is not None else "",
                version=_VERSION,
                simulated=setup.simulated,
            )
        )
        address = config.metrics_address
        self._web = Web(address, self._status.routes(), log) if address else None

    async def run(self) -> int:
        """Serves until a signal ends it; the exit status."""
        self._node.listen(self._plugin.changed)
        self._changed()
        self._reloader.publish()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._supervisor.reload_soon)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in self._loops()]
            self._ready()
            self._log.info("ready", version=_VERSION, root=self._setup.paths.root, simulated=self._setup.simulated)
            await self._stop.wait()
            await self._end(tasks)
        self._reloader.withdraw()
        self._notifier.close()
        return Exit.OK

    def _ready(self) -> None:
        self._notifier.ready(self._status.line())

    def _loops(self) -> Iterator[Coroutine[None, None, None]]:
        yield self._supervisor.run()
        yield self._supervisor.watch_files(self._notifier.reloading, self._ready)
        yield self._serve()
        yield self._notify()
        if self._web is not None:
            yield self._web.run()

    async def _serve(self) -> None:
        """The device plugin, once every claim is restored."""
        await self._supervisor.started.wait()
        self._health.start()
        await self._plugin.run()

    async def _notify(self) -> None:
        """STATUS when it changes, and the watchdog's sign of life while the supervisor beats."""
        while True:
            self._notifier.status(self._status.line())
            if self._status.alive:
                self._notifier.alive()
            await asyncio.sleep(_STATUS_SECONDS)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        self._log.info("stopping")
        self._notifier.stopping("stopping: calls in progress end or are undone")
        self._node.drain()
        self._health.stop()
        self._notifier.extend(2 * (_STOP_SECONDS + _CLOSE_SECONDS))
        await self._plugin.drain(_STOP_SECONDS)
        for task in tasks:
            task.cancel()

    def _changed(self) -> None:
        """Apply a changed configuration to the running parts."""
        config = self._reloader.config
        logs.set_level(config.log_level.value)
        self._plugin.configure(
            deadline_seconds=config.allocate_deadline_seconds, preferred_allocation=config.preferred_allocation
        )
        self._plugin.changed()


def _gate(setup: Setup, resource: str) -> Callable[[], str]:
    """Why hamid may not change this node; empty if no other program manages its GPUs."""
    # The machine's processes do not manage a simulated node.
    return OtherManagers(
        setup.paths, setup.kubelet_dir, socket_name(resource), takeover=setup.takeover, processes=not setup.simulated
    ).reason


def _health_rules(config: Config) -> HealthRules:
    return rules(
        os.environ,
        health_checks=config.health_checks,
        ignored_xids=config.ignored_xids,
        recovery_seconds=config.health_recovery_seconds,
    )
