# SPDX-License-Identifier: Apache-2.0
"""Brings the ledger of an earlier release to today's tables.

Schemas 1 and 2 had the claim's name as its key: an operator's own, or OWNER:NUMBER, NUMBER being the run that made the
claim. Schema 1 knew operators' claims alone.

All of it happens in the caller's transaction, so that a process that dies leaves the file as it was. No copy is kept:
the file is whole before and after, and a copy would name claims that have ended since.
"""

import re
import sqlite3
from typing import Any, Final

import msgspec

from hamid.node.ledger import schema

# From this version on claims had owners and shares.
_OWNERS: Final = 2
_REPLACED: Final = ("claims", "owners", "seats", "shares", "runs")
_NUMBERED: Final = re.compile(r".*:([1-9][0-9]{0,17})", re.ASCII | re.DOTALL)


class Inconsistent(Exception):  # noqa: N818  # not one of our errors: the caller sets the file aside
    """The rows of an earlier release contradict each other, as those of a damaged file do."""


class _Rows:
    """What an earlier release wrote in the tables that are replaced."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        def read(what: str, since: int = 1) -> list[Any]:
            return connection.execute(f"SELECT {what}").fetchall() if found >= since else []

        found = schema.version(connection)
        self.claims: dict[str, str] = dict(read("name, made_at FROM claims ORDER BY made_at, name"))
        self.owners = {name: row for name, *row in read("claim, owner, pending, granted FROM owners", _OWNERS)}
        self.seats = read("claim, gpu_uuid, profile_id, start, profile, size, made, mig_uuid FROM seats")
        self.shares = read("claim, position, gpu_uuid, memory_mib, sm_percent FROM shares", _OWNERS)
        columns = "run, claim, boot_id, goal, claim_seats, steps, pid, command, begun_at, ended"
        self.runs = read(f"{columns} FROM runs")
        self.last_run: int = max([0, *(seq for (seq,) in read("seq FROM sqlite_sequence WHERE name = 'runs'"))])


def migrate(connection: sqlite3.Connection) -> None:
    """Replace the tables of an earlier schema, within the caller's transaction; raises Inconsistent.

    Foreign keys must be off: dropping a table would delete what refers to it.
    """
    try:
        _replace(connection)
    except (sqlite3.IntegrityError, msgspec.MsgspecError, KeyError, OverflowError, TypeError, ValueError) as error:
        # SQLite holds any type in any column, so a damaged value is of any type.
        raise Inconsistent(str(error)) from error
    schema.stamp(connection)


def _replace(connection: sqlite3.Connection) -> None:
    rows = _Rows(connection)
    ids = _ids(rows)
    for table in _REPLACED:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for table, statement in schema.TABLES.items():
        if table in _REPLACED:
            connection.execute(statement)
    _write(connection, rows, ids)


def _ids(rows: _Rows) -> dict[str, int]:
    """The id of every claim by its name: a container's has it in its name, operators' get numbers of no run."""
    ids = {name: _number(name) for name in rows.owners}
    last = max([rows.last_run, *ids.values(), *(row[0] for row in rows.runs)])
    of_operators = [name for name in rows.claims if name not in rows.owners]
    return ids | {name: last + place for place, name in enumerate(of_operators, 1)}


def _number(name: str) -> int:
    found = _NUMBERED.fullmatch(name)
    if found is None:
        raise Inconsistent(f"claim '{name}' has no number")
    return int(found[1])


def _write(connection: sqlite3.Connection, rows: _Rows, ids: dict[str, int]) -> None:
    for name, made_at in rows.claims.items():
        owner, pending, granted = rows.owners.get(name, (None, 0, None))
        operator_name = name if owner is None else None
        values = (ids[name], operator_name, owner, pending, _granted(granted, ids[name]), made_at)
        connection.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", values)
    for name, *row in rows.seats:
        connection.execute(
            "INSERT INTO seats (claim, gpu_uuid, profile_id, start, profile, size, made, mig_uuid) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (ids[name], *row),
        )
    for name, *row in rows.shares:
        connection.execute("INSERT INTO shares VALUES (?, ?, ?, ?, ?)", (ids[name], *row))
    for run, name, *row in rows.runs:
        connection.execute(
            "INSERT INTO runs (run, claim, operator_name, boot_id, goal, claim_seats, steps, pid, command, begun_at, "
            "ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (run, *_claim_of(run, name), *row),
        )
    _number_on(connection, max([rows.last_run, *ids.values()]))


def _claim_of(run: int, name: str | None) -> tuple[int | None, str | None]:
    """The claim that a run makes or ends, and the name that an operator gave to one that it makes."""
    if name is None:
        return None, None
    numbered = _NUMBERED.fullmatch(name)
    return (run, name) if numbered is None else (int(numbered[1]), None)


def _granted(encoded: bytes | None, claim: int) -> bytes | None:
    """A grant named its claim, also after the claim was renamed."""
    return None if encoded is None else msgspec.json.encode({**msgspec.json.decode(encoded, type=dict), "claim": claim})


def _number_on(connection: sqlite3.Connection, last: int) -> None:
    """No later run gets a number that was given."""
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'runs'")
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('runs', ?)", (last,))
