# SPDX-License-Identifier: Apache-2.0
"""The ledger's files: opened for one kind of use, and set aside whole when they cannot be trusted.

A marker beside the ledger tells a lost one from one that never was.
"""

import errno
import os
import sqlite3
import time
from urllib.parse import quote

import msgspec

from hamid.core.errors import HamiError, LedgerFailed, NotPermitted
from hamid.node.ledger import migration, rows, schema

_TAILS = ("", "-wal", "-shm")
_MARKER = ".made"
_BUSY_SECONDS = 5.0
_HINT = "use sudo, join group hami if hamid is running, or try --sim"


class Unusable(Exception):  # noqa: N818  # no error of ours: the caller decides what follows
    """A ledger that must be set aside: lost, corrupt or newer."""


def failed(error: Exception, path: str) -> HamiError:
    """A problem with the ledger as one of our errors."""
    if isinstance(error, OSError):
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return NotPermitted(f"'{path}' cannot be written: {error.strerror}", _HINT)
        return LedgerFailed(f"'{path}' cannot be used: {error.strerror}", "check the directory and its file system")
    text = str(error)
    if "readonly" in text:
        return NotPermitted(f"'{path}' cannot be written: {text}", _HINT)
    hint = "free some space; the next hamictl or hamid continues where this one stopped" if "full" in text else ""
    return LedgerFailed(f"'{path}' cannot be used: {text}", hint)


def state_of(path: str) -> str:
    """`there`, `lost` (it was there once) or `none`; raises OSError when that cannot be seen."""
    if _exists(path):
        return "there"
    return "lost" if _exists(path + _MARKER) else "none"


def _exists(path: str) -> bool:
    # os.path.exists answers False where it may not look.
    try:
        os.stat(path)  # pathlib costs start-up
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def mark(path: str) -> None:
    """Remember that there is a ledger."""
    if not _exists(path + _MARKER):
        os.close(os.open(path + _MARKER, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))


def set_aside(path: str, why: str) -> str:
    """Rename the ledger's files so that nothing of them is lost; the new name."""
    aside = f"{path}.{why}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    for tail in _TAILS:
        if _exists(path + tail):
            os.rename(path + tail, aside + tail)  # pathlib costs start-up
    return aside


def connect_writer(path: str, rebuilt: str = "") -> sqlite3.Connection:
    """A connection that may write; raises Unusable for a corrupt or newer file, sqlite3.Error or OSError else.

    A new ledger in the place of one that was there notes why in `meta.rebuilt`, together with its tables.
    """
    # An empty file beside the marker was left by a crash while the ledger was being rebuilt.
    was_there = rebuilt or ("the ledger was lost" if _exists(path + _MARKER) else "")
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, was_there)
    except migration.Inconsistent as error:
        connection.close()
        raise Unusable("corrupt") from error
    except (sqlite3.Error, UnicodeError) as error:
        connection.close()
        if _is_corrupt(error):
            raise Unusable("corrupt") from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, was_there: str) -> None:
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise Unusable("corrupt")
    if schema.is_newer(connection):
        raise Unusable("newer")
    _check_whole(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # A migration needs them off, and within a transaction they cannot be switched.
    connection.execute("PRAGMA foreign_keys = OFF")
    _make_tables(connection, was_there)
    connection.execute("PRAGMA foreign_keys = ON")
    _check_values(connection)


def _make_tables(connection: sqlite3.Connection, was_there: str) -> None:
    """Today's tables, in one transaction: a process that dies leaves an empty file empty and an old one old."""
    found = schema.version(connection)
    if found >= schema.VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    if found:
        migration.migrate(connection)
    else:
        schema.create(connection)
        if was_there:
            _note_rebuilt(connection, was_there)
    connection.execute("COMMIT")


def _check_whole(connection: sqlite3.Connection) -> None:
    """A seat, share or owner of a claim that is not there: a damaged name, which no check of pages notices."""
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise Unusable("corrupt")


def _check_values(connection: sqlite3.Connection) -> None:
    """A value that cannot be decoded; SQLite holds any type in any column, so a damaged value is of any type."""
    try:
        rows.claims(connection)
        rows.instances(connection)
        for claim in connection.execute("SELECT id FROM claims").fetchall():
            rows.granted(connection, *claim)
        for row in connection.execute(f"SELECT {rows.RUN_COLUMNS} FROM runs WHERE ended IS NULL").fetchall():
            rows.run(connection, row)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise Unusable("corrupt") from error


def _note_rebuilt(connection: sqlite3.Connection, why: str) -> None:
    connection.execute("INSERT INTO meta (key, value) VALUES ('rebuilt', ?)", (why,))
    # Higher than any generation of the previous ledger.
    connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (str(int(time.time())),))


def connect_reader(path: str) -> sqlite3.Connection:
    """A connection that only reads; raises Unusable or sqlite3.Error.

    The ledger of an earlier release is not changed: what is read is a copy of it in memory, with today's tables.
    """
    connection = _open_reader(path)
    try:
        return _readable(connection)
    except migration.Inconsistent as error:
        connection.close()
        raise Unusable("corrupt") from error
    except (sqlite3.Error, UnicodeError) as error:
        connection.close()
        if _is_corrupt(error):
            raise Unusable("corrupt") from error
        raise
    except BaseException:
        connection.close()
        raise


def _readable(connection: sqlite3.Connection) -> sqlite3.Connection:
    if schema.is_newer(connection):
        raise Unusable("newer")
    version = schema.version(connection)
    if version == 0:
        raise Unusable("empty")
    _check_whole(connection)
    if version >= schema.VERSION:
        return connection
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.backup(copy)
        # A writer may have been faster.
        if schema.version(copy) < schema.VERSION:
            migration.migrate(copy)
    except BaseException:
        copy.close()
        raise
    connection.close()
    return copy


def _open_reader(path: str) -> sqlite3.Connection:
    # Without a -wal file everything is in the ledger itself, and who may not write beside it can still read it.
    immutable = "" if _exists(path + "-wal") else "&immutable=1"
    address = f"file:{quote(path)}?mode=ro{immutable}"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _is_corrupt(error: sqlite3.Error | UnicodeError) -> bool:
    """True for a file that is no ledger; a full disk or a lock says nothing about the file."""
    return (
        isinstance(error, UnicodeError)
        or getattr(error, "sqlite_errorcode", 0) & 0xFF
        in {
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        }
        or "no such table" in str(error)
    )


def damage(path: str) -> str:
    """`corrupt`, `newer` or `lost` for a ledger that the next writer sets aside; else nothing. Changes nothing."""
    try:
        state = state_of(path)
        if state == "there":
            connect_reader(path).close()
    except Unusable as error:
        return str(error)
    except (OSError, sqlite3.Error):
        # Opening it for writing reports what is wrong.
        return ""
    return "lost" if state == "lost" else ""
