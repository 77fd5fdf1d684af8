# SPDX-License-Identifier: Apache-2.0
"""The ledger's tables and how they grow.

Migrations only add: user_version counts them, and `meta.opens_from` is the lowest version whose code may still open
the file. A release raises it only when an older one could do harm.
"""

import sqlite3
from typing import Final

VERSION: Final = 2
# From here on claims have owners and shares.
OWNERS: Final = 2
_OPENS_FROM: Final = 1

_MIGRATIONS: Final = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE claims (name TEXT PRIMARY KEY, made_at TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE seats (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        claim TEXT NOT NULL REFERENCES claims (name) ON DELETE CASCADE,
        profile TEXT NOT NULL, size INTEGER NOT NULL, made INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
    CREATE TABLE instances (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        profile TEXT NOT NULL, size INTEGER NOT NULL, generation INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
    CREATE TABLE unexplained (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID;
    CREATE TABLE runs (
        run INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL, goal TEXT NOT NULL,
        claim TEXT, claim_seats BLOB NOT NULL, steps BLOB NOT NULL,
        pid INTEGER NOT NULL, command TEXT NOT NULL, begun_at TEXT NOT NULL, ended TEXT
    );
    CREATE TABLE journal (
        run INTEGER NOT NULL REFERENCES runs (run) ON DELETE CASCADE, position INTEGER NOT NULL,
        prior BLOB NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID;
    INSERT INTO meta VALUES ('generation', '0');
    """,
    """
    CREATE TABLE owners (
        claim TEXT PRIMARY KEY REFERENCES claims (name) ON DELETE CASCADE,
        owner BLOB NOT NULL, pending INTEGER NOT NULL, granted BLOB
    ) WITHOUT ROWID;
    CREATE TABLE shares (
        claim TEXT NOT NULL REFERENCES claims (name) ON DELETE CASCADE, position INTEGER NOT NULL,
        gpu_uuid TEXT NOT NULL, memory_mib INTEGER NOT NULL, sm_percent INTEGER NOT NULL,
        PRIMARY KEY (claim, position)
    ) WITHOUT ROWID;
    """,
)


def version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has had; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_newer(connection: sqlite3.Connection) -> bool:
    """True when a later release says that this one may not open its file."""
    if version(connection) <= VERSION:
        return False
    row = connection.execute("SELECT value FROM meta WHERE key = 'opens_from'").fetchone()
    return row is None or int(row[0]) > VERSION


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to our version, within the caller's transaction; a newer file stays as it is."""
    done = version(connection)
    if done >= VERSION:
        return
    for migration in _MIGRATIONS[done:]:
        # executescript would end the caller's transaction.
        for statement in filter(str.strip, migration.split(";")):
            connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('opens_from', ?)", (str(_OPENS_FROM),))
    connection.execute(f"PRAGMA user_version = {VERSION}")
