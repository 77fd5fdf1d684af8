# SPDX-License-Identifier: Apache-2.0
"""The ledger's tables, and which releases may open a file.

`user_version` counts the schemas, and `meta.opens_from` is the lowest version whose code may still open the file. A
release that only adds tables or columns leaves `opens_from` as it is; a release that changes existing ones raises it,
so that an earlier release keeps the file aside instead of misreading it.
"""

import sqlite3
from typing import Final

VERSION: Final = 3
_OPENS_FROM: Final = 3

# A claim's id is the number of the run that made it: SQLite's AUTOINCREMENT never gives one twice. Its name is derived
# from the id and the owner, or is what an operator gave.
TABLES: Final = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "claims": """
    CREATE TABLE claims (
        id INTEGER PRIMARY KEY, operator_name TEXT UNIQUE, owner BLOB,
        pending INTEGER NOT NULL, granted BLOB, made_at TEXT NOT NULL,
        CHECK ((operator_name IS NULL) <> (owner IS NULL))
    )
    """,
    "seats": """
    CREATE TABLE seats (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        claim INTEGER NOT NULL REFERENCES claims (id) ON DELETE CASCADE,
        profile TEXT NOT NULL, size INTEGER NOT NULL, made INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID
    """,
    "shares": """
    CREATE TABLE shares (
        claim INTEGER NOT NULL REFERENCES claims (id) ON DELETE CASCADE, position INTEGER NOT NULL,
        gpu_uuid TEXT NOT NULL, memory_mib INTEGER NOT NULL, sm_percent INTEGER NOT NULL,
        PRIMARY KEY (claim, position)
    ) WITHOUT ROWID
    """,
    "instances": """
    CREATE TABLE instances (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        profile TEXT NOT NULL, size INTEGER NOT NULL, generation INTEGER NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID
    """,
    "unexplained": """
    CREATE TABLE unexplained (
        gpu_uuid TEXT NOT NULL, profile_id INTEGER NOT NULL, start INTEGER NOT NULL,
        PRIMARY KEY (gpu_uuid, profile_id, start)
    ) WITHOUT ROWID
    """,
    # `claim` is the claim that the run makes or ends; it is there only between the two.
    "runs": """
    CREATE TABLE runs (
        run INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL, goal TEXT NOT NULL,
        claim INTEGER, operator_name TEXT, claim_seats BLOB NOT NULL, steps BLOB NOT NULL,
        pid INTEGER NOT NULL, command TEXT NOT NULL, begun_at TEXT NOT NULL, ended TEXT
    )
    """,
    "journal": """
    CREATE TABLE journal (
        run INTEGER NOT NULL REFERENCES runs (run) ON DELETE CASCADE, position INTEGER NOT NULL,
        prior BLOB NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL, mig_uuid TEXT,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID
    """,
}


def version(connection: sqlite3.Connection) -> int:
    """The version of the file's schema; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_newer(connection: sqlite3.Connection) -> bool:
    """True when a later release says that this one may not open its file."""
    if version(connection) <= VERSION:
        return False
    row = connection.execute("SELECT value FROM meta WHERE key = 'opens_from'").fetchone()
    return row is None or int(row[0]) > VERSION


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, within the caller's transaction."""
    for statement in TABLES.values():
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('generation', '0')")
    stamp(connection)


def stamp(connection: sqlite3.Connection) -> None:
    """Write down that the file has these tables, within the caller's transaction."""
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('opens_from', ?)", (str(_OPENS_FROM),))
    connection.execute(f"PRAGMA user_version = {VERSION}")
