# SPDX-License-Identifier: Apache-2.0
"""hamictl lib: the libvgpu files on this node's disk."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hamictl import node_access
from hamictl.options import noun, verb
from hamictl.render import library
from hamictl.session import Session
from hamid.core.documents.library import (
    collection_document,
    selftest_document,
    status_document,
    sync_document,
    verification_document,
)
from hamid.core.errors import UsageError
from hamid.core.exits import Exit
from hamid.core.library.gc import KEEP

if TYPE_CHECKING:
    from hamictl.node_access import SyncReport

app = noun("lib", "Install, inspect and collect the libvgpu files that containers get.")

Dest = Annotated[
    str | None, typer.Option("--dest", metavar="DIR", help="The library directory (default /usr/local/vgpu).")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]


@verb(app, "sync")
def sync(
    session: Session,
    source: Annotated[
        str | None, typer.Option("--source", metavar="DIR", help="What to install (default: our own build).")
    ] = None,
    dest: Dest = None,
    dry_run: DryRun = False,
    full: Annotated[bool, typer.Option("--full", help="Read every file, whatever the stat-cache says.")] = False,
) -> None:
    """Install a directory's files; what is equal stays untouched, every other file is replaced as a whole.

    \b
    Examples:
      hamictl lib sync --source /k8s-vgpu/lib/nvidia
      hamictl lib sync --source ./build --dest /opt/vgpu --dry-run

    \b
    Exit codes: 4 not permitted, 7 refused (an unsafe directory, a libvgpu.so that is none, another sync at work).
    """
    _show_sync(session, node_access.library_sync(_dest(session, dest), source, dry_run=dry_run, full=full))


@verb(app, "status")
def show_status(session: Session, dest: Dest = None) -> None:
    """Show the installed versions, which one containers get, and who uses each.

    \b
    Examples:
      hamictl lib status
      hamictl lib status -o json
    """
    state = node_access.library_status(_dest(session, dest), session.paths)
    document = status_document(
        state.dest,
        current=state.current,
        manifest=state.manifest,
        versions=state.versions,
        fallback_users=state.fallback_users,
        warnings=state.warnings,
    )

    _warn(state.warnings)
    session.emit(document, lambda: library.status_page(document, wide=session.wide))


@verb(app, "verify")
def verify(session: Session, dest: Dest = None) -> int:
    """Read every installed file and compare it with what was installed.

    \b
    Examples:
      hamictl lib verify
      hamictl lib verify --dest /opt/vgpu -o json

    \b
    Exit code 3 when anything differs: a file that is missing, changed or open to others, or a foreign libvgpu.so.
    """
    folder = _dest(session, dest)
    drifts = node_access.library_verify(folder)
    document = verification_document(folder, [(drift.name, drift.code, drift.message) for drift in drifts])

    session.emit(document, lambda: library.verification_page(document))
    return Exit.PENDING if drifts else Exit.OK


@verb(app, "gc")
def collect(
    session: Session,
    keep: Annotated[int, typer.Option("--keep", metavar="N", help="How many of the newest versions stay.")] = KEEP,
    dest: Dest = None,
    dry_run: DryRun = False,
) -> None:
    """Remove versions that nobody uses and directories of containers whose pod is gone.

    \b
    Examples:
      hamictl lib gc --dry-run
      hamictl lib gc --keep 1

    \b
    A version stays that is current, pinned, mapped, mounted, named by a pod, a container record or a claim; whatever
    cannot be read counts as a user of every version.
    """
    found = node_access.library_collect(_dest(session, dest), session.paths, keep=keep, dry_run=dry_run)
    document = collection_document(found.dest, found.verdicts, dry_run=dry_run, warnings=found.warnings)

    _warn(found.warnings)
    session.emit(document, lambda: library.collection_page(document))


@verb(app, "rollback")
def rollback(
    session: Session,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="An installed version.")] = None,
    unpin: Annotated[bool, typer.Option("--unpin", help="Lift the pin; the next sync brings its own version.")] = False,
    dest: Dest = None,
    dry_run: DryRun = False,
) -> None:
    """Give containers an installed version from now on, also after later syncs.

    \b
    Examples:
      hamictl lib rollback v2.9.0
      hamictl lib rollback --unpin
    """
    if (version is None) != unpin or version == "":
        raise UsageError("which version?", "give either VERSION or --unpin")
    report = node_access.library_rollback(_dest(session, dest), version or "", dry_run=dry_run)

    _show_sync(session, report)
    done = f"pinned to {version}" if version else "no version is pinned"
    sys.stderr.write(f"{'dry run, would be: ' if dry_run else ''}{done}\n")


@verb(app, "selftest")
def selftest(session: Session, dest: Dest = None) -> int:
    """Run a small CUDA client under the installed libvgpu: is it loaded, does it limit, does it show the limit.

    \b
    Examples:
      hamictl lib selftest
      hamictl --sim node lib selftest -o json

    \b
    Takes 32 MiB of the first CUDA device for a moment. Exit codes: 1 when a check fails, 6 without a driver.
    """
    path, checks = node_access.library_selftest(_dest(session, dest), session.sim)
    document = selftest_document(path, checks)

    session.emit(document, lambda: library.selftest_page(document))
    return Exit.OK if document["passed"] else Exit.FAILURE


def _dest(session: Session, dest: str | None) -> str:
    """The library directory: `--dest`, else where the node's containers take it from."""
    if dest == "":
        raise UsageError("the destination is empty", "name a directory with --dest DIR")
    if dest is None and session.root is None and session.sim is not None and node_access.is_spec(session.sim):
        raise UsageError("a throw-away simulated node has no disk", "add --root DIR, or name a node of 'sim up'")
    return os.path.abspath(dest or session.paths.library_dir)


def _show_sync(session: Session, report: "SyncReport") -> None:
    document = sync_document(
        report.dest,
        report.source,
        report.steps,
        dry_run=report.dry_run,
        version=report.version,
        pinned=report.pinned,
        warnings=report.warnings,
    )

    _warn(report.warnings)
    session.emit(document, lambda: library.sync_page(document, empty=report.empty))


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
