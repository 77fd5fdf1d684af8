# SPDX-License-Identifier: Apache-2.0
"""The output of `hamictl lib` as JSON documents; the schemas are in docs/json/."""

from collections.abc import Iterable

from hamid.core.documents.envelope import Document, envelope
from hamid.core.library.gc import LibraryVersion, RemovalVerdict
from hamid.core.library.manifest import Manifest, shown_path
from hamid.core.library.plan import PRELOAD, LibraryStep, MakeFolder, SetFileMode, Skip, WriteFile, WritePreload
from hamid.core.library.selftest import Check
from hamid.core.library.users import LibraryUser


def sync_document(
    dest: str,
    source: str,
    steps: Iterable[LibraryStep],
    *,
    dry_run: bool,
    version: str,
    pinned: str,
    warnings: Iterable[str],
) -> Document:
    """A `LibrarySync`: what was done to each file, or would be."""
    rows = [{**_step(step), "origin": _origin(step, dest, source)} for step in steps]
    return {
        **envelope("LibrarySync"),
        "dest": shown_path(dest),
        "source": shown_path(source),
        "dryRun": dry_run,
        "changed": any(row["action"] != "skip" for row in rows),
        "version": version or None,
        "pinned": pinned or None,
        "files": rows,
        "warnings": list(warnings),
    }


def _origin(step: LibraryStep, dest: str, source: str) -> str | None:
    """Where a written file's content comes from; null for every other step."""
    if not isinstance(step, WriteFile):
        return None
    return shown_path(f"{dest if step.installed else source}/{step.origin}")


def _step(step: LibraryStep) -> Document:
    match step:
        case Skip():
            return {"name": shown_path(step.path), "action": "skip", "reason": str(step.why)}
        case WriteFile():
            return {"name": shown_path(step.path), "action": "write", "reason": str(step.why)}
        case MakeFolder():
            return {"name": shown_path(step.path), "action": "folder", "reason": "missing"}
        case SetFileMode():
            return {"name": shown_path(step.path), "action": "mode", "reason": f"{step.mode:04o}"}
        case WritePreload():  # pragma: no branch: mypy knows that no kind is left
            return {"name": PRELOAD, "action": "preload", "reason": "different"}


def status_document(
    dest: str,
    *,
    current: str | None,
    manifest: Manifest,
    versions: Iterable[LibraryVersion],
    fallback_users: Iterable[LibraryUser],
    warnings: Iterable[str],
) -> Document:
    """A `LibraryStatus`: `current` is the path that a container gets, null when there is none."""
    return {
        **envelope("LibraryStatus"),
        "dest": shown_path(dest),
        "current": None if current is None else f"{shown_path(dest)}/{current}",
        "version": manifest.version or None,
        "pinned": manifest.pinned or None,
        "versions": [_version(version, manifest) for version in versions],
        "fallbackUsers": [_user(user) for user in fallback_users],
        "warnings": list(warnings),
    }


def _version(version: LibraryVersion, manifest: Manifest) -> Document:
    record = manifest.record(version.name)
    return {
        "name": version.name,
        "version": version.version,
        "current": version.current,
        "pinned": version.pinned,
        "size": record.size if record else None,
        "sha256": record.sha256 if record else None,
        "source": shown_path(record.source) if record else None,
        "installedAt": record.installed_at if record else None,
        "used": bool(version.users),
        "users": [_user(user) for user in version.users],
    }


def _user(user: LibraryUser) -> Document:
    return {"kind": user.kind, "name": shown_path(user.name), "pid": user.pid}


def verification_document(dest: str, drifts: Iterable[tuple[str, str, str]]) -> Document:
    """A `LibraryVerification`: every (name, code, message) that differs from what was installed."""
    rows = [{"name": shown_path(name), "code": code, "message": message} for name, code, message in drifts]
    return {**envelope("LibraryVerification"), "dest": shown_path(dest), "intact": not rows, "drifts": rows}


def collection_document(
    dest: str, verdicts: Iterable[RemovalVerdict], *, dry_run: bool, warnings: Iterable[str]
) -> Document:
    """A `LibraryCollection`: what was removed, or would be, and what keeps the rest."""
    rows = [
        {"name": shown_path(v.name), "kind": v.kind, "removed": v.removed, "reason": shown_path(v.reason)}
        for v in verdicts
    ]
    head = {**envelope("LibraryCollection"), "dest": shown_path(dest), "dryRun": dry_run}
    return {**head, "entries": rows, "warnings": list(warnings)}


def selftest_document(library: str, checks: Iterable[Check]) -> Document:
    """A `LibrarySelftest`: the result of each check."""
    rows = [{"name": each.name, "passed": each.passed, "seen": shown_path(each.seen)} for each in checks]
    passed = all(row["passed"] for row in rows)
    return {**envelope("LibrarySelftest"), "library": shown_path(library), "passed": passed, "checks": rows}
