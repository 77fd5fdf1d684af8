# SPDX-License-Identifier: Apache-2.0
"""hamid's status: systemd's STATUS line, /livez, /readyz and /metrics."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from hamid.core.metrics.daemon import DaemonFacts
from hamid.core.metrics.gpus import families
from hamid.engine.node import Node
from hamid.engine.reload import Reloader
from hamid.serve.file_metrics import FileMetricsReader
from hamid.serve.plugin.registration import DevicePlugin
from hamid.serve.supervisor import Supervisor
from hamid.serve.web import Response, Route, checks, metrics

# The supervisor counts as stuck after this long without a beat; the watchdog then ends the process.
_STUCK_SECONDS: Final = 15.0
# The checks that /readyz requires; `?verbose` shows the others too.
_NEEDED: Final = ("driver", "restored", "kubelet")


class StatusSources(Struct, frozen=True, kw_only=True):
    """The parts of the daemon that provide the status; `web_problem` returns why metrics are not served."""

    node: Node
    reloader: Reloader
    supervisor: Supervisor
    plugin: DevicePlugin
    files: FileMetricsReader
    web_problem: Callable[[], str]
    version: str
    simulated: bool


class DaemonStatus:
    """The status. It reads published state only and never waits for the driver or kubelet."""

    def __init__(self, parts: StatusSources) -> None:
        self._parts = parts

    def problems(self) -> dict[str, str]:
        """Every check of /readyz with its problem, which is empty if the check passes."""
        parts = self._parts
        view, plugin = parts.node.view, parts.plugin.state
        sick = [f"{each.gpu.title}: {each.problem}" for each in view.gpus if each.served and each.problem]
        waiting = parts.supervisor.needs_restart
        return {
            "driver": parts.supervisor.waits_for or "; ".join(view.problems),
            "restored": "" if view.ready else "still restoring existing claims",
            "kubelet": "" if plugin.registered else plugin.problem or "not registered yet",
            "configuration": parts.reloader.problem.replace("\n", "; "),
            "restart": f"{', '.join(waiting)} changed; restart hamid to apply" if waiting else "",
            "pods": view.notes.get("pods", ""),
            "metrics": parts.web_problem(),
            "gpus": "; ".join(sick),
        }

    def line(self) -> str:
        """The STATUS line for systemd."""
        view = self._parts.node.view
        problems = [f"{name}: {text}" for name, text in self.problems().items() if text]
        free = sum(device.healthy for device in view.devices)
        summary = f"{len(view.gpus)} GPUs, {free} devices offered, {len(view.claims)} claims"
        simulated = "simulated; " if self._parts.simulated else ""
        return simulated + "; ".join([summary, *problems])

    @property
    def alive(self) -> bool:
        """True while the supervisor's last beat is recent."""
        return self._silence() < _STUCK_SECONDS

    def _silence(self) -> float:
        return time.monotonic() - self._parts.supervisor.beat

    def routes(self) -> Mapping[str, Route]:
        """The handlers of the web server, by path."""
        return {"/metrics": self._metrics, "/livez": self._livez, "/readyz": self._readyz}

    async def _livez(self, query: str) -> Response:
        silence = self._silence()
        problem = "" if silence < _STUCK_SECONDS else f"no beat for {silence:.0f} s"
        return checks({"supervisor": problem}, query, name="livez")

    async def _readyz(self, query: str) -> Response:
        found = self.problems()
        shown = found if "verbose" in query.split("&") else {name: found[name] for name in _NEEDED}
        answer = checks(shown, query, name="readyz")
        ready = not any(found[name] for name in _NEEDED)
        return Response(200 if ready else 503, answer.body)

    async def _metrics(self, _query: str) -> Response:
        parts = self._parts
        files = await parts.files.read(parts.reloader.config, parts.node.view.claims)
        plugin = parts.plugin.state
        facts = DaemonFacts(
            now=time.time(),
            version=parts.version,
            node=parts.reloader.config.node_name,
            registered=plugin.registered,
            registered_at=plugin.since or 0.0,
            registrations=plugin.registrations,
            config_version=parts.reloader.version,
            config_problem=bool(parts.reloader.problem),
            config_waiting=len(parts.supervisor.needs_restart),
            library=files.library,
            uses=files.uses,
        )
        return metrics(families(parts.node.view, parts.node.parts.counters.collect(), facts))
