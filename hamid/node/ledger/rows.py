# SPDX-License-Identifier: Apache-2.0
"""The ledger's rows as values and back; each function works within its caller's transaction."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from hamid.core.claims.claim import Claim, ClaimedSeat, ClaimedShare, InstanceKey, LedgerFacts, OwnInstance, PodOwner
from hamid.core.claims.grant import Grant
from hamid.core.claims.journal import Entry, EntryState, Goal, Prior, Run
from hamid.core.errors import UsageError
from hamid.core.planner.steps import CreateInstance, Step
from hamid.node.ledger import schema

_STEPS = msgspec.json.Decoder(tuple[Step, ...])
_SEATS = msgspec.json.Decoder(tuple[InstanceKey, ...])
_PRIOR = msgspec.json.Decoder(Prior)
_OWNER = msgspec.json.Decoder(PodOwner)
_SEAT_COLUMNS = "gpu_uuid, profile_id, start, profile, size"
RUN_COLUMNS = "run, boot_id, goal, claim, claim_seats, steps, pid, command"


def facts(connection: sqlite3.Connection, boot: str, anew: str) -> LedgerFacts:
    """Claims, instances and doubts; `anew` is what to say of a ledger that was made anew, with {why} in it."""
    return facts_with(connection, boot, anew, claims=claims(connection), own=instances(connection))


def facts_with(
    connection: sqlite3.Connection,
    boot: str,
    anew: str,
    *,
    claims: Mapping[str, Claim],
    own: tuple[OwnInstance, ...],
) -> LedgerFacts:
    """`facts` of these claims and instances, which were read before."""
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    # What was made before a reboot is gone with it.
    here = meta.get("boot_id") == boot
    unexplained = [
        InstanceKey(*row) for row in connection.execute("SELECT gpu_uuid, profile_id, start FROM unexplained")
    ]
    rebuilt = meta.get("rebuilt")
    return LedgerFacts(
        own=own if here else (),
        claims=tuple(claims[name] for (name,) in connection.execute("SELECT name FROM claims")),
        unexplained=frozenset(unexplained) if here else frozenset(),
        adopting=meta.get("adopting", ""),
        trusted=rebuilt is None,
        warnings=() if rebuilt is None else (anew.format(why=rebuilt),),
    )


def instances(connection: sqlite3.Connection) -> tuple[OwnInstance, ...]:
    """Every instance that we made."""
    return tuple(
        OwnInstance(seat=InstanceKey(*row[:3]), profile=row[3], size=row[4], generation=generation, mig_uuid=mig_uuid)
        for generation, mig_uuid, *row in connection.execute(
            f"SELECT generation, mig_uuid, {_SEAT_COLUMNS} FROM instances"  # noqa: S608
        )
    )


def claims(connection: sqlite3.Connection, names: Collection[str] | None = None) -> dict[str, Claim]:
    """Claims by name: all, or those of these names that there are."""
    seats: dict[str, list[ClaimedSeat]] = defaultdict(list)
    for name, made, mig_uuid, *row in _of(connection, f"claim, made, mig_uuid, {_SEAT_COLUMNS} FROM seats", names):
        seat = InstanceKey(*row[:3])
        seats[name].append(ClaimedSeat(seat=seat, profile=row[3], size=row[4], made=bool(made), mig_uuid=mig_uuid))
    shares: dict[str, list[ClaimedShare]] = defaultdict(list)
    owners: dict[str, tuple[PodOwner, bool]] = {}
    # A reader may meet the file of an earlier release.
    if schema.version(connection) >= schema.OWNERS:
        for name, encoded, pending in _of(connection, "claim, owner, pending FROM owners", names):
            owners[name] = (_owner(encoded), bool(pending))
        columns = "claim, gpu_uuid, memory_mib, sm_percent FROM shares"
        for name, *share in _of(connection, columns, names, order="ORDER BY claim, position"):
            shares[name].append(ClaimedShare(gpu_uuid=share[0], memory_mib=share[1], sm_percent=share[2]))
    return {
        name: Claim(name=name, seats=tuple(seats[name]), shares=tuple(shares[name]), **_owned(owners.get(name)))
        for (name,) in _of(connection, "name FROM claims", names, column="name")
    }


def _of(
    connection: sqlite3.Connection,
    what: str,
    names: Collection[str] | None,
    *,
    column: str = "claim",
    order: str = "",
) -> list[Any]:
    """The rows of all claims, or of these; words of ours alone are in the statement."""
    where = "" if names is None else f"WHERE {column} IN ({', '.join('?' * len(names))})"
    return connection.execute(f"SELECT {what} {where} {order}", tuple(names or ())).fetchall()


def claims_on(connection: sqlite3.Connection, seat: InstanceKey) -> list[str]:
    """Whose this seat is."""
    found = connection.execute("SELECT claim FROM seats WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", key(seat))
    return [name for (name,) in found]


# Every write reads all claims anew, and owners hardly change.
@lru_cache(maxsize=256)
def _owner(encoded: bytes) -> PodOwner:
    return _OWNER.decode(encoded)


def _owned(owner: tuple[PodOwner, bool] | None) -> Mapping[str, Any]:
    return {} if owner is None else {"owner": owner[0], "pending": owner[1]}


def run(connection: sqlite3.Connection, row: Sequence[Any]) -> Run:
    """A plan with its journal, from a row of RUN_COLUMNS."""
    number, boot, goal, claim, claim_seats, encoded, pid, command = row
    steps = _STEPS.decode(encoded)
    found = connection.execute(
        "SELECT position, prior, generation, state, mig_uuid FROM journal WHERE run = ? ORDER BY position", (number,)
    )
    entries = tuple(
        Entry(
            run=number,
            position=position,
            step=steps[position],
            prior=_PRIOR.decode(prior),
            generation=generation,
            state=EntryState(state),
            mig_uuid=mig_uuid if isinstance(steps[position], CreateInstance) else None,
        )
        for position, prior, generation, state, mig_uuid in found
    )
    return Run(
        run=number,
        boot_id=boot,
        goal=Goal(goal),
        claim=claim,
        claim_seats=_SEATS.decode(claim_seats),
        pid=pid,
        command=command,
        steps=steps,
        entries=entries,
    )


def add_claim(connection: sqlite3.Connection, name: str, seats: Sequence[ClaimedSeat]) -> None:
    """Promise seats to a name that nobody has; raises UsageError if one of them is promised already."""
    if connection.execute("SELECT 1 FROM claims WHERE name = ?", (name,)).fetchone():
        raise UsageError(
            f"there is a claim '{name}' already", f"choose another name, or: hamictl mig release --name {name}"
        )
    connection.execute("INSERT INTO claims (name, made_at) VALUES (?, ?)", (name, now()))
    for each in seats:
        try:
            connection.execute(
                "INSERT INTO seats (gpu_uuid, profile_id, start, claim, profile, size, made, mig_uuid) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*key(each.seat), name, each.profile, each.size, each.made, each.mig_uuid),
            )
        except sqlite3.IntegrityError as error:
            raise UsageError(f"{each.profile}@{each.seat.start} belongs to another claim", "plan anew") from error


def add_owner(
    connection: sqlite3.Connection, name: str, owner: PodOwner, shares: Sequence[ClaimedShare], *, pending: bool
) -> None:
    """Whose claim it is, and its shares."""
    connection.execute(
        "INSERT INTO owners (claim, owner, pending) VALUES (?, ?, ?)", (name, msgspec.json.encode(owner), pending)
    )
    connection.executemany(
        "INSERT INTO shares (claim, position, gpu_uuid, memory_mib, sm_percent) VALUES (?, ?, ?, ?, ?)",
        [(name, place, each.gpu_uuid, each.memory_mib, each.sm_percent) for place, each in enumerate(shares)],
    )


def set_granted(
    connection: sqlite3.Connection, name: str, granted: Grant, uuids: Mapping[InstanceKey, str | None]
) -> None:
    """The claim holds; what its container received, and what its instances are called."""
    connection.execute(
        "UPDATE owners SET pending = 0, granted = ? WHERE claim = ?", (msgspec.json.encode(granted), name)
    )
    for seat, mig_uuid in uuids.items():
        rename_seat(connection, seat, mig_uuid)


def rename_claim(connection: sqlite3.Connection, old: str, new: str) -> None:
    """The same claim under another name."""
    connection.execute("INSERT INTO claims (name, made_at) SELECT ?, made_at FROM claims WHERE name = ?", (new, old))
    for table in ("seats", "owners", "shares"):
        connection.execute(f"UPDATE {table} SET claim = ? WHERE claim = ?", (new, old))  # noqa: S608
    connection.execute("DELETE FROM claims WHERE name = ?", (old,))


def rename_seat(connection: sqlite3.Connection, seat: InstanceKey, mig_uuid: str | None) -> None:
    """Note what a claimed instance is called now."""
    connection.execute(
        "UPDATE seats SET mig_uuid = ? WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", (mig_uuid, *key(seat))
    )


def release_seat(connection: sqlite3.Connection, seat: InstanceKey) -> None:
    """A claim that loses its last seat ends; one that never had any is not concerned."""
    where = "WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)"
    row = connection.execute(f"SELECT claim FROM seats {where}", key(seat)).fetchone()  # noqa: S608
    if row is not None:
        delete(connection, "seats", seat)
        connection.execute("DELETE FROM claims WHERE name = ? AND name NOT IN (SELECT claim FROM seats)", row)


def set_own(connection: sqlite3.Connection, seat: InstanceKey, own: OwnInstance | None, *, made: bool = False) -> None:
    """Which instance of ours lies on a seat now; one that was `made` now is its claim's from here on."""
    delete(connection, "instances", seat)
    if own is not None:
        connection.execute(
            "INSERT INTO instances (gpu_uuid, profile_id, start, profile, size, generation, mig_uuid) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key(seat), own.profile, own.size, own.generation, own.mig_uuid),
        )
    if made:
        connection.execute("UPDATE seats SET made = 1 WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", key(seat))


def delete(connection: sqlite3.Connection, table: str, seat: InstanceKey) -> None:
    """Take a seat out of a table."""
    connection.execute(f"DELETE FROM {table} WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", key(seat))  # noqa: S608


def next_generation(connection: sqlite3.Connection) -> int:
    """A number that no instance of ours had before."""
    (value,) = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (str(int(value) + 1),))
    return int(value) + 1


def key(seat: InstanceKey) -> tuple[str, int, int]:
    """A seat as the tables have it."""
    return (seat.gpu_uuid, seat.profile_id, seat.start)


def now() -> str:
    """The time as the tables have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
