# SPDX-License-Identifier: Apache-2.0
"""hamictl's access to the node: one function per operation. Only this module imports hamid's engine and node.

Each operation imports what it needs when it is called, which keeps start-up short.
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from hamid.core.errors import UsageError
from hamid.node.paths import Paths

if TYPE_CHECKING:
    from types import ModuleType

    from hamid.core.claims.claim import Claim
    from hamid.core.config.parse import Parsed
    from hamid.core.hardware.snapshot import Snapshot
    from hamid.core.library.selftest import Check
    from hamid.core.located import Located
    from hamid.core.planner.plan import Step
    from hamid.core.planner.templates import TemplateTable
    from hamid.core.relayout.saved_plan import SavedSeat
    from hamid.engine.library.gc import Collection
    from hamid.engine.library.state import LibraryState
    from hamid.engine.library.sync import SyncReport
    from hamid.engine.library.verify import Drift
    from hamid.engine.reload import RunningConfig
    from hamid.engine.steps.apply import ApplyReport, Progress
    from hamid.engine.steps.recover import Finding
    from hamid.engine.steps.restore import RestoreReport
    from hamid.node.config.files import Files
    from hamid.node.simulation import control as sim_control
    from hamid.node.simulation import lifecycle as sim_nodes
    from hamid.node.system.service import ServicePlan

# Argument and return types, for the annotations of other modules.
__all__ = ["Paths", "RestoreReport", "ServicePlan", "SyncReport", "sim_control", "sim_nodes"]

_SPEC = re.compile(r"[0-9]+x")


def __getattr__(name: str) -> "ModuleType":
    """The modules `sim_control` and `sim_nodes`, which control simulated nodes; imported on first use."""
    from hamid.node.simulation import control, lifecycle

    modules = {"sim_control": control, "sim_nodes": lifecycle}
    if name not in modules:
        raise AttributeError(name)
    return modules[name]


def is_spec(sim: str) -> bool:
    """True when `--sim` describes a node (`2xA30`); anything else is the path of a state file."""
    return _SPEC.match(sim) is not None


def paths_of(sim: str | None, root: str | None) -> Paths:
    """The paths under the effective root: `--root`, else the simulated node's own root, else HAMI_ROOT, else /.

    The root of a `--sim SPEC` node is created on the first write and removed at exit.
    """
    if root is not None:
        return Paths(root)
    if sim is None:
        return Paths(os.environ.get("HAMI_ROOT") or "/")
    return Paths(_temporary_root() if is_spec(sim) else f"{sim}.d")


@cache
def _temporary_root() -> str:
    """A directory of this process with an unpredictable name."""
    import atexit
    import shutil

    root = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"hamictl-sim-{os.urandom(8).hex()}")
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def open_node(sim: str | None, root: str | None) -> Paths:
    """The paths of a node whose driver will be used. With `sim`, this process uses the simulated NVML from now on.

    Raises UsageError for a bad spec or state file.
    """
    if sim is not None:
        _enter_simulation(sim)
    return paths_of(sim, root)


def _enter_simulation(sim: str) -> None:
    from hamid.node.simulation import control

    if not sim:
        raise UsageError(
            "--sim is empty", "pass a node such as 2xA100-SXM4-40GB, or the state file of 'hamictl sim up'"
        )
    if is_spec(sim):
        control.check_spec(sim)
        os.environ.pop("HAMI_SIM_STATE", None)
        os.environ["HAMI_SIM_NODE"] = sim
    else:
        control.check_state(sim)
        os.environ.pop("HAMI_SIM_NODE", None)
        os.environ["HAMI_SIM_STATE"] = os.path.abspath(sim)
    control.preload()


def snapshot(paths: Paths) -> "Snapshot":
    """The node as NVML and /proc show it now."""
    from hamid.engine.driver.observe import observe

    # Reading the ledger takes time at start-up; without a state directory there is no ledger.
    return observe(paths if os.path.lexists(paths.state_dir) else None)


def templates(paths: Paths, file: str | None) -> "TemplateTable":
    """The template table of `file`, else of the node's device-config.yaml, else the built-in one."""
    from hamid.node.config.files import templates

    return templates(paths, file)


def apply(
    paths: Paths,
    steps: "Sequence[Step]",
    *,
    fingerprint: str,
    claim: str | None,
    seats: "Sequence[SavedSeat]",
    keep_pending: bool,
    timeout_seconds: float,
    progress: "Progress",
    stop: Callable[[], bool],
) -> "ApplyReport":
    """Apply a plan, completely or not at all, and record its claim."""
    from hamid.engine.steps.apply import apply

    return apply(
        paths,
        steps,
        fingerprint=fingerprint,
        claim=claim,
        claim_instances=[(seat.gpu_uuid, seat.profile_id, seat.start) for seat in seats],
        keep_pending=keep_pending,
        timeout_seconds=timeout_seconds,
        progress=progress,
        stop=stop,
    )


def claims(paths: Paths) -> "tuple[Claim, ...]":
    """The claims in the ledger, by name."""
    from hamid.node.ledger.reader import read_facts

    return read_facts(paths).claims


def release(paths: Paths, name: str) -> list[str]:
    """End a claim; return messages about what was done."""
    from hamid.engine.steps.restore import release

    return release(paths, name)


def release_instance(paths: Paths, mig_uuid: str) -> list[str]:
    """End the claim that holds an instance, and destroy the instance if hamid created it and it is idle."""
    from hamid.engine.steps.restore import release_instance

    return release_instance(paths, mig_uuid)


def repair_plan(paths: Paths, reclaim_idle: Sequence[str]) -> "tuple[list[Finding], Callable[[], list[str]]]":
    """Where ledger and node disagree, and a function that repairs it."""
    from hamid.engine.steps.recover import repair_plan

    return repair_plan(paths, reclaim_idle=reclaim_idle)


def restore_preview(paths: Paths, snapshot: "Snapshot") -> "RestoreReport":
    """What `restore` would do; changes nothing."""
    from hamid.engine.steps.restore import preview

    return preview(snapshot, claims(paths))


def restore(paths: Paths) -> "RestoreReport":
    """Create the claims' instances again after a reboot."""
    from hamid.engine.steps.restore import restore

    return restore(paths)


def config_files(paths: Paths, path: str | None) -> "Files":
    """The configuration files of `path`, or those of the node."""
    from hamid.node.config.files import files_in, files_of

    return files_in(paths.config_dir) if path is None else files_of(path)


def read_config(files: "Files", node_name: str | None) -> "Parsed":
    """The configuration that these files give the node of this name; raises ConfigError with all problems."""
    from hamid.node.config.files import read_files

    return read_files(files, {**os.environ, **({"NODE_NAME": node_name} if node_name else {})})


def config_in_force(paths: Paths) -> "RunningConfig | None":
    """The configuration of the running hamid; None if hamid is not running."""
    from hamid.engine.reload import running

    return running(paths)


def library_sync(dest: str, source: str | None, *, dry_run: bool, full: bool) -> "SyncReport":
    """Install the files of the source directory."""
    from hamid.engine.library.sync import sync

    return sync(dest, source, dry_run=dry_run, full=full)


def library_rollback(dest: str, version: str, *, dry_run: bool) -> "SyncReport":
    """Pin an installed version; an empty one removes the pin."""
    from hamid.engine.library.sync import rollback

    return rollback(dest, version, dry_run=dry_run)


def library_status(dest: str, paths: Paths) -> "LibraryState":
    """The installed versions and their users."""
    from hamid.engine.library.state import status

    return status(dest, paths)


def library_verify(dest: str) -> "tuple[Drift, ...]":
    """All differences between the manifest and the disk."""
    from hamid.engine.library.verify import verify

    return verify(dest)


def library_selftest(dest: str, sim: str | None) -> "tuple[str, tuple[Check, ...]]":
    """The library that a container gets, and the results of a CUDA client that ran with it."""
    from hamid.engine.library.selftest import selftest
    from hamid.engine.library.state import container_library

    path = container_library(dest)
    if sim is not None:
        _enter_simulation(sim)
    return path, selftest(path, simulated=sim is not None)


def library_collect(dest: str, paths: Paths, *, keep: int, dry_run: bool) -> "Collection":
    """Remove versions and container directories that are not in use."""
    from hamid.engine.library.gc import collect

    return collect(dest, paths, keep=keep, dry_run=dry_run)


def service_plan(paths: Paths, *, install: bool, start: bool = False) -> "ServicePlan":
    """The plan to install or remove hamid.service."""
    from hamid.node.system import service

    absolute = Paths(os.path.abspath(paths.root))
    return service.plan_install(absolute, start=start) if install else service.plan_uninstall(absolute)


def change_service(plan: "ServicePlan") -> None:
    """Apply a plan for hamid.service."""
    from hamid.node.system.service import carry_out

    carry_out(plan)


def read_marked(path: str) -> "Located":
    """A YAML or JSON file with the line of each value; raises UsageError or ConfigError."""
    from hamid.node.config.yaml import read_marked

    return read_marked(path)


def read_file(path: str) -> bytes:
    """The content of a small file named by the user; raises UsageError."""
    from hamid.node.config.yaml import read_bounded

    return read_bounded(path)


def write_file(path: str, content: bytes) -> None:
    """Write a file named by the user, atomically; raises UsageError, also if the path is not a regular file."""
    from hamid.node.files.replace import replace_file

    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"cannot write '{path}': not a regular file", "name a new file, or a regular file to replace")
    try:
        replace_file(path, content, mode=None)
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror}", "name a writable file") from error
