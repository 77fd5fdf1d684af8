# SPDX-License-Identifier: Apache-2.0
"""The node through this very process: the one place where hamictl touches hamid's engine and node."""

import os
import re
from typing import TYPE_CHECKING

from hamid.core.errors import UsageError
from hamid.node import simulation, simulator
from hamid.node.paths import Paths

if TYPE_CHECKING:
    from hamid.core.snapshot import Snapshot
    from hamid.core.templates import TemplateTable

__all__ = ["LocalBackend", "environment", "is_spec", "root_for", "simulation", "simulator"]

_SPEC = re.compile(r"[0-9]+x")


def is_spec(sim: str) -> bool:
    """True when `--sim` describes a node (`2xA30`); anything else is the path of a state file."""
    return _SPEC.match(sim) is not None


def root_for(sim: str | None, root: str | None) -> str:
    """The root directory in force: as given, else the simulated node's own, else HAMI_ROOT, else /.

    A throw-away node has none of its own; a path that cannot exist keeps every real file out of its sight.
    """
    if root is not None:
        return root
    if sim is None:
        return os.environ.get("HAMI_ROOT") or "/"
    return f"/proc/self/hami-sim-{os.getpid()}" if is_spec(sim) else f"{sim}.d"


class LocalBackend:
    """Reads the node directly. With `sim`, the node is the simulated one for the rest of this process."""

    def __init__(self, *, sim: str | None, root: str | None) -> None:
        self.paths = Paths(root_for(sim, root))
        if sim is not None:
            _enter_simulation(sim)

    def snapshot(self) -> "Snapshot":
        """The node as NVML and /proc tell it now."""
        # Late, because nvidia-ml-py costs start-up and not every command needs the driver.
        from hamid.engine.observe import observe  # noqa: PLC0415

        return observe()

    def templates(self, file: str | None) -> "TemplateTable":
        """The template table of `file`, else of the node's device-config.yaml, else as shipped."""
        from hamid.node.configdir import templates  # noqa: PLC0415

        return templates(self.paths, file)


def _enter_simulation(sim: str) -> None:
    """Point this process's NVML at the simulated driver; raises UsageError for a bad spec or state file."""
    if not sim:
        raise UsageError("--sim is empty", "give a node such as 2xA100-SXM4-40GB, or the state file of 'sim up'")
    if is_spec(sim):
        simulator.check_spec(sim)
        os.environ.pop("HAMI_SIM_STATE", None)
        os.environ["HAMI_SIM_NODE"] = sim
    else:
        simulator.check_state(sim)
        os.environ.pop("HAMI_SIM_NODE", None)
        os.environ["HAMI_SIM_STATE"] = os.path.abspath(sim)  # noqa: PTH100  # pathlib costs start-up
    simulator.preload()


def environment(name: str) -> str | None:
    """A variable of this process's environment."""
    return os.environ.get(name)
