# SPDX-License-Identifier: Apache-2.0
"""The text of the library store, rendered from the documents. Messages that HAMi also prints use HAMi's wording."""

from typing import Final

from hamictl.render.tables import table
from hamid.core.documents.envelope import Document

_MIB: Final = 1024 * 1024
_DONE: Final = {"write": "Copied", "folder": "Created", "mode": "Mode set", "preload": "Updated"}
_WOULD: Final = {
    "write": "Would copy",
    "folder": "Would create",
    "mode": "Would set mode",
    "preload": "Would update",
}
_SKIPPED: Final = {"managed file": "Skipped managed file", "same MD5": "Skipped (same MD5)"}
_FEW_USERS: Final = 3


def sync_page(document: Document, *, empty: bool) -> str:
    """One line per file; `empty` means that the source directory has no library."""
    lines = [_sync_line(row, document) for row in document["files"]]
    if empty:
        lines += [f"Nothing to install: no library in '{document['source']}'; name a directory with --source DIR"]
    return "".join(f"{line}\n" for line in lines)


def _sync_line(row: Document, document: Document) -> str:
    name, action, reason = row["name"], row["action"], row["reason"]
    source, target = f"{document['source']}/{name}", f"{document['dest']}/{name}"
    if action == "skip":
        why = f"pinned to {document['pinned']}" if reason == "pinned" else reason
        return f"{_SKIPPED.get(reason, f'Skipped ({why})')}: {source}"
    verb = (_WOULD if document["dryRun"] else _DONE)[action]
    if action == "write":
        return f"{verb}: {row['origin']} -> {target}"
    if action == "preload":
        return f"{verb}: {target} -> {document['dest']}/libvgpu.so"
    return f"{verb}: {target}" + (f" ({reason})" if action == "mode" else "")


def status_page(document: Document, *, wide: bool) -> str:
    """The version that containers get, and all installed versions."""
    head = f"Containers get: {document['current'] or 'none, no library is installed'}\n"
    if document["pinned"]:
        head += f"Pinned to:      {document['pinned']} (unpin with: hamictl lib rollback --unpin)\n"
    if not document["versions"]:
        return head + "No versioned library is installed.\n"
    columns = ["VERSION", "CURRENT", "SIZE", "INSTALLED", "USED BY"] + (["SHA-256", "SOURCE"] if wide else [])
    return f"{head}\n{table(columns, [_version_row(row, wide=wide) for row in document['versions']])}"


def _version_row(row: Document, *, wide: bool) -> list[object]:
    current = "pinned" if row["current"] and row["pinned"] else "yes" if row["current"] else None
    size = None if row["size"] is None else f"{row['size'] / _MIB:.1f} MiB"
    cells: list[object] = [row["version"], current, size, row["installedAt"], _users(row["users"], wide=wide)]
    return [*cells, row["sha256"], row["source"]] if wide else cells


def _users(users: list[Document], *, wide: bool) -> str:
    shown = users if wide else users[:_FEW_USERS]
    words = [f"{u['kind']} {u['name']}" + ("" if u["pid"] is None else f" ({u['pid']})") for u in shown]
    more = len(users) - len(shown)
    return ", ".join(words) + (f" and {more} more" if more else "")


def verification_page(document: Document) -> str:
    """One line per difference."""
    if document["intact"]:
        return f"Intact: {document['dest']}\n"
    return "".join(f"Differs ({row['code']}): {row['name']}: {row['message']}\n" for row in document["drifts"])


def selftest_page(document: Document) -> str:
    """One line per check, and the verdict."""
    rows = [f"{'ok  ' if row['passed'] else 'FAIL'}  {row['name']}: {row['seen']}\n" for row in document["checks"]]
    verdict = "passed" if document["passed"] else "FAILED"
    return "".join(rows) + f"selftest of '{document['library']}': {verdict}\n"


def collection_page(document: Document) -> str:
    """One line per version and per container directory."""
    removed = "Would remove" if document["dryRun"] else "Removed"
    lines = [f"{removed if row['removed'] else 'Kept'}: {row['name']} ({row['reason']})" for row in document["entries"]]
    return "".join(f"{line}\n" for line in lines) or f"Nothing to collect in {document['dest']}\n"
