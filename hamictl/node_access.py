# SPDX-License-Identifier: Apache-2.0
"""The node through this very process: the one place where hamictl touches hamid's engine and node."""

import atexit
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from hamid.core.errors import UsageError
from hamid.node.paths import Paths
from hamid.node.simulation import control as sim_control
from hamid.node.simulation import persistent as sim_nodes

if TYPE_CHECKING:
    from hamid.core.claims.claim import Claim
    from hamid.core.config.parse import Parsed
    from hamid.core.hardware.snapshot import Snapshot
    from hamid.core.library.selftest import Check
    from hamid.core.located import Located
    from hamid.core.planner.steps import Step
    from hamid.core.planner.templates import TemplateTable
    from hamid.core.relayout.saved_plan import ClaimSeat
    from hamid.engine.library.state import Collection, Drift, LibraryState
    from hamid.engine.library.sync import SyncReport
    from hamid.engine.reload import InForce
    from hamid.engine.steps.apply import ApplyReport, Progress
    from hamid.engine.steps.recover import Finding
    from hamid.engine.steps.restore import RestoreReport
    from hamid.node.config.files import Files
    from hamid.node.system.service import ServicePlan

__all__ = [
    "LocalBackend",
    "LocalConfig",
    "LocalLibrary",
    "LocalService",
    "environment",
    "is_spec",
    "root_for",
    "sim_control",
    "sim_nodes",
]

_SPEC = re.compile(r"[0-9]+x")


def is_spec(sim: str) -> bool:
    """True when `--sim` describes a node (`2xA30`); anything else is the path of a state file."""
    return _SPEC.match(sim) is not None


def root_for(sim: str | None, root: str | None) -> str:
    """The root directory in force: as given, else the simulated node's own, else HAMI_ROOT, else /.

    A throw-away node has one that is made when something is written and goes with the process.
    """
    if root is not None:
        return root
    if sim is None:
        return os.environ.get("HAMI_ROOT") or "/"
    return _throw_away_root() if is_spec(sim) else f"{sim}.d"


@cache
def _throw_away_root() -> str:
    """A directory for this process alone: nobody can guess its name, and what appears in it goes at the end."""
    root = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"hamictl-sim-{os.urandom(8).hex()}")  # noqa: S108, PTH118
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


class LocalBackend:
    """Reads the node directly. With `sim`, the node is the simulated one for the rest of this process."""

    def __init__(self, *, sim: str | None, root: str | None) -> None:
        self.paths = Paths(root_for(sim, root))
        if sim is not None:
            _enter_simulation(sim)

    def snapshot(self) -> "Snapshot":
        """The node as NVML and /proc tell it now."""
        # Late, because nvidia-ml-py costs start-up and not every command needs the driver.
        from hamid.engine.driver.observe import observe  # noqa: PLC0415

        # Reading a ledger costs start-up; a node that never had a state directory has none.
        return observe(self.paths if os.path.lexists(self.paths.state_dir) else None)

    def templates(self, file: str | None) -> "TemplateTable":
        """The template table of `file`, else of the node's device-config.yaml, else as shipped."""
        from hamid.node.config.files import templates  # noqa: PLC0415

        return templates(self.paths, file)

    def apply(
        self,
        steps: "Sequence[Step]",
        *,
        fingerprint: str,
        claim: str | None,
        seats: "Sequence[ClaimSeat]",
        keep_pending: bool,
        timeout_seconds: float,
        progress: "Progress",
        stop: Callable[[], bool],
    ) -> "ApplyReport":
        """Carry out a plan on this node."""
        from hamid.engine.steps.apply import apply  # noqa: PLC0415

        return apply(
            self.paths,
            steps,
            fingerprint=fingerprint,
            claim=claim,
            claim_instances=[(seat.gpu_uuid, seat.profile_id, seat.start) for seat in seats],
            keep_pending=keep_pending,
            timeout_seconds=timeout_seconds,
            progress=progress,
            stop=stop,
        )

    def release(self, name: str) -> list[str]:
        """End a claim."""
        from hamid.engine.steps.restore import release  # noqa: PLC0415

        return release(self.paths, name)

    def release_instance(self, mig_uuid: str) -> list[str]:
        """End the claim on one instance."""
        from hamid.engine.steps.restore import release_instance  # noqa: PLC0415

        return release_instance(self.paths, mig_uuid)

    def repair(self, reclaim_idle: Sequence[str]) -> "tuple[list[Finding], Callable[[], list[str]]]":
        """What ledger and node do not agree on, and how to mend it."""
        from hamid.engine.steps.recover import repair_plan  # noqa: PLC0415

        return repair_plan(self.paths, reclaim_idle=reclaim_idle)

    def claims(self) -> "tuple[Claim, ...]":
        """What was promised, by name."""
        from hamid.node.ledger.ledger import read_facts  # noqa: PLC0415  # sqlite costs start-up

        return read_facts(self.paths).claims

    def restore_preview(self, snapshot: "Snapshot") -> "RestoreReport":
        """What a restore would find."""
        from hamid.engine.steps.restore import preview  # noqa: PLC0415

        return preview(snapshot, self.claims())

    def restore(self) -> "RestoreReport":
        """Bring the claims' instances back after a reboot."""
        from hamid.engine.steps.restore import restore  # noqa: PLC0415

        return restore(self.paths)


def _enter_simulation(sim: str) -> None:
    """Point this process's NVML at the simulated driver; raises UsageError for a bad spec or state file."""
    if not sim:
        raise UsageError("--sim is empty", "give a node such as 2xA100-SXM4-40GB, or the state file of 'sim up'")
    if is_spec(sim):
        sim_control.check_spec(sim)
        os.environ.pop("HAMI_SIM_STATE", None)
        os.environ["HAMI_SIM_NODE"] = sim
    else:
        sim_control.check_state(sim)
        os.environ.pop("HAMI_SIM_NODE", None)
        os.environ["HAMI_SIM_STATE"] = os.path.abspath(sim)  # noqa: PTH100  # pathlib costs start-up
    sim_control.preload()


def environment(name: str) -> str | None:
    """A variable of this process's environment."""
    return os.environ.get(name)


class LocalConfig:
    """The configuration of this node: its files, and what the hamid that runs was told by them."""

    def __init__(self, *, sim: str | None, root: str | None, node_name: str | None = None) -> None:
        self.paths = Paths(root_for(sim, root))
        self._environment = {**os.environ, **({"NODE_NAME": node_name} if node_name else {})}

    def files(self, path: str | None) -> "Files":
        """The files of `path`, or those of the node."""
        from hamid.node.config.files import files_in, files_of  # noqa: PLC0415  # only this noun needs them

        return files_in(self.paths.config_dir) if path is None else files_of(path)

    def read(self, files: "Files") -> "Parsed":
        """What the files come to; raises ConfigError with every problem."""
        from hamid.node.config.files import read_files  # noqa: PLC0415

        return read_files(files, self._environment)

    def running(self) -> "InForce | None":
        """What the hamid that serves this node has in force."""
        from hamid.engine.reload import running  # noqa: PLC0415

        return running(self.paths)


class LocalService:
    """hamid's files for systemd on this node."""

    def __init__(self, *, sim: str | None, root: str | None) -> None:
        self.paths = Paths(os.path.abspath(root_for(sim, root)))  # noqa: PTH100  # pathlib costs start-up

    def plan_install(self, *, start: bool) -> "ServicePlan":
        """What an installation would do."""
        from hamid.node.system.service import plan_install  # noqa: PLC0415  # only this noun needs it

        return plan_install(self.paths, start=start)

    def plan_uninstall(self) -> "ServicePlan":
        """What its end would do."""
        from hamid.node.system.service import plan_uninstall  # noqa: PLC0415

        return plan_uninstall(self.paths)

    def carry_out(self, plan: "ServicePlan") -> None:
        """Do it."""
        from hamid.node.system.service import carry_out  # noqa: PLC0415

        carry_out(plan)


class LocalLibrary:
    """The libvgpu store of this node, at `dest` or where the node's containers take it from."""

    def __init__(self, *, sim: str | None, root: str | None, dest: str | None) -> None:
        self.paths = Paths(root_for(sim, root))
        self._sim = sim
        self.dest = os.path.abspath(dest or self.paths.library_dir)  # noqa: PTH100  # pathlib costs start-up
        if dest is None and root is None and sim is not None and is_spec(sim):
            raise UsageError("a throw-away simulated node has no disk", "add --root DIR, or name a node of 'sim up'")

    def sync(self, source: str | None, *, dry_run: bool, full: bool) -> "SyncReport":
        """Install what the source holds."""
        # Late, here and below: only the noun lib needs the store, and start-up is what scripts feel.
        from hamid.engine.library.sync import sync  # noqa: PLC0415

        return sync(self.dest, source, dry_run=dry_run, full=full)

    def rollback(self, version: str, *, dry_run: bool) -> "SyncReport":
        """Pin an installed version; an empty one lifts the pin."""
        from hamid.engine.library.sync import rollback  # noqa: PLC0415

        return rollback(self.dest, version, dry_run=dry_run)

    def status(self) -> "LibraryState":
        """What is installed and who uses it."""
        from hamid.engine.library.state import status  # noqa: PLC0415

        return status(self.dest, self.paths)

    def verify(self) -> "tuple[Drift, ...]":
        """Every difference between what was installed and what lies there."""
        from hamid.engine.library.state import verify  # noqa: PLC0415

        return verify(self.dest)

    def selftest(self) -> "tuple[str, tuple[Check, ...]]":
        """The library that a container gets, and what a client saw under it."""
        from hamid.engine.library.selftest import selftest  # noqa: PLC0415
        from hamid.engine.library.state import container_library  # noqa: PLC0415

        path = container_library(self.dest)
        if self._sim is not None:
            _enter_simulation(self._sim)
        return path, selftest(path, simulated=self._sim is not None)

    def collect(self, keep: int, *, dry_run: bool) -> "Collection":
        """Remove what nobody needs."""
        from hamid.engine.library.state import collect  # noqa: PLC0415

        return collect(self.dest, self.paths, keep=keep, dry_run=dry_run)


def read_marked(path: str) -> "Located":
    """A YAML or JSON file as a marked tree; raises UsageError or ConfigError."""
    from hamid.node.config.yaml import read_marked as read  # noqa: PLC0415  # yaml costs start-up

    return read(path)


def read_file(path: str) -> bytes:
    """A small file from outside; raises UsageError."""
    from hamid.node.config.yaml import read_bounded  # noqa: PLC0415

    return read_bounded(path)


def write_file(path: str, content: bytes) -> None:
    """Write a file of the operator's, whole or not at all; raises UsageError, also for what is no regular file."""
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  # pathlib costs start-up
        raise UsageError(f"cannot write '{path}': it is no regular file", "name a file, new or to be replaced")
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(temporary, "xb") as file:  # noqa: PTH123  # pathlib costs start-up
            file.write(content)
        os.replace(temporary, path)  # noqa: PTH105  # as above
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108  # as above
        raise UsageError(f"cannot write '{path}': {error.strerror}", "name a writable file") from error


def random_name(prefix: str) -> str:
    """A name that nobody has yet, such as `operator-5d9b3c`."""
    return f"{prefix}-{os.urandom(3).hex()}"
