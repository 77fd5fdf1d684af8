# SPDX-License-Identifier: Apache-2.0
"""hamictl lib: the installed libvgpu files of this node."""

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

app = noun("lib", "Install, inspect and clean up libvgpu files.")

Dest = Annotated[str | None, typer.Option("--dest", metavar="DIR", help="Library directory (default /usr/local/vgpu).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]


@verb(app, "sync")
def sync(
    session: Session,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="DIR", help="Directory to install from (default: the build in this package)."),
    ] = None,
    dest: Dest = None,
    dry_run: DryRun = False,
    full: Annotated[bool, typer.Option("--full", help="Read every file and ignore the stat cache.")] = False,
) -> None:
    """Install libvgpu files. Files that are equal are not touched; others are replaced atomically.

    \b
    Examples:
      hamictl lib sync --source /k8s-vgpu/lib/nvidia
      hamictl lib sync --source ./build --dest /opt/vgpu --dry-run

    \b
    Exit codes: 4 not permitted, 7 refused (unsafe directory, invalid libvgpu.so, or another sync is running).
    """
    _show_sync(session, node_access.library_sync(_dest(session, dest), source, dry_run=dry_run, full=full))


@verb(app, "status")
def show_status(session: Session, dest: Dest = None) -> None:
    """Show the installed versions, the current one and their users.

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
    """Compare every installed file with the manifest.

    \b
    Examples:
      hamictl lib verify
      hamictl lib verify --dest /opt/vgpu -o json

    \b
    Exit code: 3 if a file is missing, changed or writable by others, or if libvgpu.so was not installed by hamid.
    """
    folder = _dest(session, dest)
    drifts = node_access.library_verify(folder)
    document = verification_document(folder, [(drift.name, drift.code, drift.message) for drift in drifts])

    session.emit(document, lambda: library.verification_page(document))
    return Exit.PENDING if drifts else Exit.OK


@verb(app, "gc")
def collect(
    session: Session,
    keep: Annotated[int, typer.Option("--keep", metavar="N", help="Number of newest versions to keep.")] = KEEP,
    dest: Dest = None,
    dry_run: DryRun = False,
) -> None:
    """Remove unused versions and directories of ended containers.

    \b
    Examples:
      hamictl lib gc --dry-run
      hamictl lib gc --keep 1

    \b
    A version is kept while it is current, pinned, mapped or mounted, or while a pod, a container record or a claim
    names it. If any of these cannot be read, every version is kept.
    """
    found = node_access.library_collect(_dest(session, dest), session.paths, keep=keep, dry_run=dry_run)
    document = collection_document(found.dest, found.verdicts, dry_run=dry_run, warnings=found.warnings)

    _warn(found.warnings)
    session.emit(document, lambda: library.collection_page(document))


@verb(app, "rollback")
def rollback(
    session: Session,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Installed version to pin.")] = None,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Remove the pin; the next sync makes its version current.")
    ] = False,
    dest: Dest = None,
    dry_run: DryRun = False,
) -> None:
    """Pin an installed version for new containers. Later syncs keep the pin.

    \b
    Examples:
      hamictl lib rollback v2.9.0
      hamictl lib rollback --unpin
    """
    if (version is None) != unpin or version == "":
        raise UsageError("specify exactly one of VERSION and --unpin", "list the versions with: hamictl lib status")
    report = node_access.library_rollback(_dest(session, dest), version or "", dry_run=dry_run)

    _show_sync(session, report)
    done = f"pinned to {version}" if version else "no version is pinned"
    sys.stderr.write(f"{'dry run, result would be: ' if dry_run else ''}{done}\n")


@verb(app, "selftest")
def selftest(session: Session, dest: Dest = None) -> int:
    """Test the installed libvgpu with a small CUDA client.

    \b
    Examples:
      hamictl lib selftest
      hamictl --sim node lib selftest -o json

    \b
    The client checks that libvgpu is loaded, enforces a memory limit and reports that limit. It briefly allocates
    32 MiB on the first CUDA device. Exit codes: 1 if a check fails, 6 without a driver.
    """
    path, checks = node_access.library_selftest(_dest(session, dest), session.sim)
    document = selftest_document(path, checks)

    session.emit(document, lambda: library.selftest_page(document))
    return Exit.OK if document["passed"] else Exit.FAILURE


def _dest(session: Session, dest: str | None) -> str:
    """The library directory: `--dest`, else the node's own."""
    if dest == "":
        raise UsageError("--dest is empty", "name a directory with --dest DIR")
    if dest is None and session.root is None and session.sim is not None and node_access.is_spec(session.sim):
        raise UsageError(
            f"--sim {session.sim} is a temporary node without files",
            "add --root DIR, or pass the state file of 'hamictl sim up'",
        )
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
