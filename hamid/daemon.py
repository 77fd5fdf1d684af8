# SPDX-License-Identifier: Apache-2.0
"""hamid: the node's GPU daemon. Life cycle alone: arguments, one TaskGroup, signals, readiness, the end.

The law: READY once lock, configuration and ledger are held and the loops run. A driver, a kubelet or a port that is not
there is a state to wait in, shown in STATUS and /readyz, never a reason to end.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hamid.commandline import Options, Setup, parse_arguments, prepare
from hamid.core.claims.which_container import identifier
from hamid.core.config.config import PodsSource
from hamid.core.errors import HamiError
from hamid.core.exits import Exit, exit_code
from hamid.core.hardware.health import HealthRules, rules
from hamid.core.library.plan import changes
from hamid.core.metrics.daemon import Facts
from hamid.core.metrics.gpus import families
from hamid.engine.health import HealthMonitor
from hamid.engine.library.sync import sync
from hamid.engine.node import Node
from hamid.engine.other_managers import OtherManagers
from hamid.engine.pods import share_folders
from hamid.engine.reload import Reloader
from hamid.node.kubelet.checkpoint import Checkpoint
from hamid.node.kubelet.holdings import KubeletHoldings
from hamid.node.kubelet.pod_source import pod_source
from hamid.node.system import logs, memory
from hamid.node.system.systemd import Notifier
from hamid.serve.file_metrics import FileMetricsReader
from hamid.serve.plugin.registration import DevicePlugin, socket_name
from hamid.serve.supervisor import Supervisor
from hamid.serve.web import Response, Web, checks, metrics

_STATUS_SECONDS: Final = 2.0
# Without a beat for so long the supervisor is stuck, and the watchdog is to end us.
_STUCK_SECONDS: Final = 15.0
# Together below the 10 s within which calls in flight end or are undone.
_STOP_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 3.0
_VERSION: Final = importlib.metadata.version("hami-node")


def main() -> None:
    """The entry point `hamid`."""
    memory.use_few_arenas()
    status = run(parse_arguments(sys.argv[1:]))
    sys.stdout.flush()
    sys.stderr.flush()
    # The interpreter would wait for every thread, also for one that a hung driver never gives back.
    os._exit(status)


def run(options: Options) -> int:
    """One life; the exit status."""
    try:
        with prepare(options) as setup:
            log = logs.setup(logs.Form.AUTO, "info", os.environ)
            reloader = Reloader(setup.paths, os.environ, log)
            config = reloader.start()
            if options.check_config:
                print("the configuration can be used", file=sys.stdout)  # noqa: T201  # the answer of a command
                return Exit.OK
            log = logs.setup(logs.Form(config.log_format.value), config.log_level.value, os.environ)
            with _open(setup, reloader, log) as node:
                return _once(node, setup, log) if options.once else _live(_Life(node, setup, reloader, log))
    except HamiError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        print(f"hamid: {error.message}{hint}", file=sys.stderr)  # noqa: T201  # there may be no log yet
        return exit_code(error)


@contextlib.contextmanager
def _open(setup: Setup, reloader: Reloader, log: Any) -> Iterator[Node]:
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


def _install_library(folder: str, log: Any) -> None:
    """Bring libvgpu up to date where we carry one; what is installed stays when that fails."""
    try:
        report = sync(folder)
    except HamiError as error:
        log.info("library_not_synced", text=error.message, hint=error.hint)
    else:
        log.info("library_synced", version=report.version, steps=len(changes(report.steps)))


def _live(life: "_Life") -> int:
    """Runs the loop; not by asyncio.run, which at the end would wait for threads that a hung driver keeps."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(life.run())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _once(node: Node, setup: Setup, log: Any) -> int:
    """Observe, adopt, restore, reconcile once; raises what went wrong."""
    for text in node.start():
        log.info("restored", text=text)
    node.reconcile()
    view = node.view
    log.info("once", gpus=len(view.gpus), claims=len(view.claims), root=setup.paths.root)
    return Exit.OK


class _Life:
    """hamid between READY and its end."""

    def __init__(self, node: Node, setup: Setup, reloader: Reloader, log: Any) -> None:
        self._node = node
        self._setup = setup
        self._reloader = reloader
        self._log = log
        self._notifier = Notifier.of(os.environ)
        self._stop = asyncio.Event()
        self._disk = FileMetricsReader(setup.paths)

    async def run(self) -> int:
        """Serves until a signal ends it; the exit status."""
        config = self._reloader.config
        gate = self._masters(config.resources.count).reason
        self._plugin = DevicePlugin(
            self._node,
            kubelet_dir=Path(self._setup.kubelet_dir),
            log=self._log,
            resource=config.resources.count,
            gate=gate,
        )
        self._supervisor = Supervisor(self._node, self._reloader, self._log, changed=self._changed, gate=gate)
        self._health = HealthMonitor(self._node, self._health_rules, self._log)
        self._web = Web(config.metrics_address, self._routes(), self._log) if config.metrics_address else None
        self._node.listen(self._plugin.changed)
        self._changed()
        self._reloader.publish()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._supervisor.reload_soon)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in self._loops()]
            self._notifier.ready(self._status())
            self._log.info("ready", version=_VERSION, root=self._setup.paths.root, simulated=self._setup.simulated)
            await self._stop.wait()
            await self._end(tasks)
        self._reloader.withdraw()
        self._notifier.close()
        return Exit.OK

    def _masters(self, resource: str) -> OtherManagers:
        setup = self._setup
        # A simulated node has no processes of its own; the machine's are none of its business.
        return OtherManagers(
            setup.paths,
            setup.kubelet_dir,
            socket_name(resource),
            takeover=setup.takeover,
            processes=not setup.simulated,
        )

    def _loops(self) -> Iterator[Any]:
        yield self._supervisor.run()
        yield self._supervisor.watch_files(self._notifier.reloading, lambda: self._notifier.ready(self._status()))
        yield self._serve()
        yield self._tell()
        if self._web is not None:
            yield self._web.run()

    async def _serve(self) -> None:
        """The device plugin, once every promise of before has been kept."""
        await self._supervisor.started.wait()
        self._health.start()
        await self._plugin.run()

    async def _tell(self) -> None:
        """STATUS when it changes, and a sign of life while the supervisor has one."""
        while True:
            self._notifier.status(self._status())
            if time.monotonic() - self._supervisor.beat < _STUCK_SECONDS:
                self._notifier.alive()
            await asyncio.sleep(_STATUS_SECONDS)

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        self._log.info("stopping")
        self._notifier.stopping("stopping: calls in flight end or are undone")
        self._node.drain()
        self._health.stop()
        self._notifier.extend(2 * (_STOP_SECONDS + _CLOSE_SECONDS))
        await self._plugin.drain(_STOP_SECONDS)
        for task in tasks:
            task.cancel()

    def _changed(self) -> None:
        """The configuration is another one."""
        config = self._reloader.config
        logs.set_level(config.log_level.value)
        self._plugin.configure(
            deadline_seconds=config.allocate_deadline_seconds, preferred_allocation=config.preferred_allocation
        )
        self._plugin.changed()

    # -- what others see --

    def _problems(self) -> dict[str, str]:
        """Every check of /readyz with what is wrong."""
        view, plugin = self._node.view, self._plugin.state
        sick = [f"{each.gpu.title}: {each.problem}" for each in view.gpus if each.served and each.problem]
        waiting = self._supervisor.needs_restart
        return {
            "driver": self._supervisor.waits_for or "; ".join(view.problems),
            "restored": "" if view.ready else "promises of before are not all restored yet",
            "kubelet": "" if plugin.registered else plugin.problem or "not registered yet",
            "configuration": self._reloader.problem.replace("\n", "; "),
            "restart": f"{', '.join(waiting)} changed; restart hamid" if waiting else "",
            "pods": view.notes.get("pods", ""),
            "metrics": self._web.problem if self._web is not None else "",
            "gpus": "; ".join(sick),
        }

    def _status(self) -> str:
        view = self._node.view
        problems = [f"{name}: {text}" for name, text in self._problems().items() if text]
        free = sum(device.healthy for device in view.devices)
        said = f"{len(view.gpus)} GPUs, {free} devices offered, {len(view.claims)} claims"
        simulated = "simulated; " if self._setup.simulated else ""
        return simulated + "; ".join([said, *problems])

    def _health_rules(self) -> HealthRules:
        config = self._reloader.config
        return rules(
            os.environ,
            health_checks=config.health_checks,
            ignored_xids=config.ignored_xids,
            recovery_seconds=config.health_recovery_seconds,
        )

    def _routes(self) -> dict[str, Any]:
        return {"/metrics": self._metrics, "/livez": self._livez, "/readyz": self._readyz}

    async def _livez(self, query: str) -> Response:
        stuck = time.monotonic() - self._supervisor.beat
        return checks(
            {"supervisor": "" if stuck < _STUCK_SECONDS else f"no beat for {stuck:.0f} s"}, query, name="livez"
        )

    async def _readyz(self, query: str) -> Response:
        needed = ("driver", "restored", "kubelet")
        found = self._problems()
        shown = found if "verbose" in query.split("&") else {name: found[name] for name in needed}
        answer = checks(shown, query, name="readyz")
        ready = not any(found[name] for name in needed)
        return Response(200 if ready else 503, answer.body)

    async def _metrics(self, _query: str) -> Response:
        disk = await self._disk.read(self._reloader.config, self._node.view.claims)
        state = self._plugin.state
        facts = Facts(
            now=time.time(),
            version=_VERSION,
            node=self._reloader.config.node_name,
            registered=state.registered,
            registered_at=state.since or 0.0,
            registrations=state.registrations,
            config_version=self._reloader.version,
            config_problem=bool(self._reloader.problem),
            config_waiting=len(self._supervisor.needs_restart),
            library=disk.library,
            uses=disk.uses,
        )
        return metrics(families(self._node.view, self._node.parts.counters.collect(), facts))
