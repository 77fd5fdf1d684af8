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
from hamid.core.planner.plan import CreateInstance, Step

_STEPS = msgspec.json.Decoder(tuple[Step, ...])
_SEATS = msgspec.json.Decoder(tuple[InstanceKey, ...])
_PRIOR = msgspec.json.Decoder(Prior)
_OWNER = msgspec.json.Decoder(PodOwner)
_GRANT = msgspec.json.Decoder(Grant)
_SEAT_COLUMNS = "gpu_uuid, profile_id, start, profile, size"
RUN_COLUMNS = "run, boot_id, goal, claim, operator_name, claim_seats, steps, pid, command"


def facts(connection: sqlite3.Connection, boot: str, rebuilt: str) -> LedgerFacts:
    """Claims, instances and doubts; `rebuilt` is the warning about a rebuilt ledger, with {why} in it."""
    return facts_with(connection, boot, rebuilt, claims=claims(connection), own=instances(connection))


def facts_with(
    connection: sqlite3.Connection,
    boot: str,
    rebuilt: str,
    *,
    claims: Mapping[int, Claim],
    own: tuple[OwnInstance, ...],
) -> LedgerFacts:
    """`facts` with these claims and instances, which were read before."""
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    # A reboot destroys all instances.
    here = meta.get("boot_id") == boot
    unexplained = [
        InstanceKey(*row) for row in connection.execute("SELECT gpu_uuid, profile_id, start FROM unexplained")
    ]
    why = meta.get("rebuilt")
    return LedgerFacts(
        own=own if here else (),
        claims=tuple(sorted(claims.values(), key=lambda claim: claim.name)),
        unexplained=frozenset(unexplained) if here else frozenset(),
        adopting=meta.get("adopting", ""),
        trusted=why is None,
        warnings=() if why is None else (rebuilt.format(why=why),),
    )


def instances(connection: sqlite3.Connection) -> tuple[OwnInstance, ...]:
    """Every instance that we made."""
    return tuple(
        OwnInstance(seat=InstanceKey(*row[:3]), profile=row[3], size=row[4], generation=generation, mig_uuid=mig_uuid)
        for generation, mig_uuid, *row in connection.execute(
            f"SELECT generation, mig_uuid, {_SEAT_COLUMNS} FROM instances"
        )
    )


def claims(connection: sqlite3.Connection, ids: Collection[int] | None = None) -> dict[int, Claim]:
    """Claims by id: all, or those of these ids that there are."""
    seats: dict[int, list[ClaimedSeat]] = defaultdict(list)
    for claim, made, mig_uuid, *row in _of(connection, f"claim, made, mig_uuid, {_SEAT_COLUMNS} FROM seats", ids):
        seat = InstanceKey(*row[:3])
        seats[claim].append(ClaimedSeat(seat=seat, profile=row[3], size=row[4], made=bool(made), mig_uuid=mig_uuid))
    shares: dict[int, list[ClaimedShare]] = defaultdict(list)
    columns = "claim, gpu_uuid, memory_mib, sm_percent FROM shares"
    for claim, *share in _of(connection, columns, ids, order="ORDER BY claim, position"):
        shares[claim].append(ClaimedShare(gpu_uuid=share[0], memory_mib=share[1], sm_percent=share[2]))
    return {
        claim: Claim(
            id=claim,
            operator_name=operator_name or "",
            owner=None if owner is None else _owner(owner),
            pending=bool(pending),
            seats=tuple(seats[claim]),
            shares=tuple(shares[claim]),
        )
        for claim, operator_name, owner, pending in _of(
            connection, "id, operator_name, owner, pending FROM claims", ids, column="id"
        )
    }


def _of(
    connection: sqlite3.Connection,
    what: str,
    ids: Collection[int] | None,
    *,
    column: str = "claim",
    order: str = "",
) -> list[Any]:
    """The rows of all claims, or of these; words of ours alone are in the statement."""
    where = "" if ids is None else f"WHERE {column} IN ({', '.join('?' * len(ids))})"
    return connection.execute(f"SELECT {what} {where} {order}", tuple(ids or ())).fetchall()


def claims_on(connection: sqlite3.Connection, seat: InstanceKey) -> list[int]:
    """Whose this seat is."""
    found = connection.execute("SELECT claim FROM seats WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", key(seat))
    return [claim for (claim,) in found]


# Every write reads all claims again, and owners hardly change.
@lru_cache(maxsize=256)
def _owner(encoded: bytes) -> PodOwner:
    return _OWNER.decode(encoded)


def run(connection: sqlite3.Connection, row: Sequence[Any]) -> Run:
    """A plan with its journal, from a row of RUN_COLUMNS."""
    number, boot, goal, claim, operator_name, claim_seats, encoded, pid, command = row
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
        operator_name=operator_name or "",
        claim_seats=_SEATS.decode(claim_seats),
        pid=pid,
        command=command,
        steps=steps,
        entries=entries,
    )


def add_operators_claim(connection: sqlite3.Connection, claim: Claim) -> None:
    """Promise seats to a name that no other claim has; raises UsageError if the name or a seat is taken."""
    if connection.execute("SELECT 1 FROM claims WHERE operator_name = ?", (claim.name,)).fetchone():
        raise UsageError(
            f"claim '{claim.name}' already exists",
            f"choose another name, or: hamictl mig release --name {claim.name}",
        )
    add_claim(connection, claim)


def add_claim(connection: sqlite3.Connection, claim: Claim, granted: Grant | None = None) -> None:
    """Write down a claim, and what its container received; raises UsageError if one of its seats is taken."""
    owner = None if claim.owner is None else msgspec.json.encode(claim.owner)
    connection.execute(
        "INSERT INTO claims (id, operator_name, owner, pending, granted, made_at) VALUES (?, ?, ?, ?, ?, ?)",
        (claim.id, claim.operator_name or None, owner, claim.pending, _encoded(granted), now()),
    )
    for each in claim.seats:
        try:
            connection.execute(
                "INSERT INTO seats (gpu_uuid, profile_id, start, claim, profile, size, made, mig_uuid) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*key(each.seat), claim.id, each.profile, each.size, each.made, each.mig_uuid),
            )
        except sqlite3.IntegrityError as error:
            raise UsageError(f"{each.profile}@{each.seat.start} belongs to another claim", "plan again") from error
    connection.executemany(
        "INSERT INTO shares (claim, position, gpu_uuid, memory_mib, sm_percent) VALUES (?, ?, ?, ?, ?)",
        [(claim.id, n, each.gpu_uuid, each.memory_mib, each.sm_percent) for n, each in enumerate(claim.shares)],
    )


def set_granted(
    connection: sqlite3.Connection, claim: int, granted: Grant, uuids: Mapping[InstanceKey, str | None]
) -> None:
    """Record that the claim is granted, what its container received, and the UUIDs of its instances."""
    connection.execute("UPDATE claims SET pending = 0, granted = ? WHERE id = ?", (_encoded(granted), claim))
    for seat, mig_uuid in uuids.items():
        rename_seat(connection, seat, mig_uuid)


def set_owner(connection: sqlite3.Connection, claim: int, owner: PodOwner) -> None:
    """Record a new owner of the claim, or more details of its owner."""
    connection.execute("UPDATE claims SET owner = ? WHERE id = ?", (msgspec.json.encode(owner), claim))


def granted(connection: sqlite3.Connection, claim: int) -> Grant | None:
    """What the container of a claim received; None for one that is pending, an operator's or unknown."""
    where = "WHERE id = ? AND pending = 0 AND granted IS NOT NULL"
    row = connection.execute(f"SELECT granted FROM claims {where}", (claim,)).fetchone()
    return None if row is None else _GRANT.decode(row[0])


def _encoded(granted: Grant | None) -> bytes | None:
    return None if granted is None else msgspec.json.encode(granted)


def release_claim(connection: sqlite3.Connection, claim: int) -> None:
    """End a claim; its instances stay."""
    connection.execute("DELETE FROM claims WHERE id = ?", (claim,))


def rename_seat(connection: sqlite3.Connection, seat: InstanceKey, mig_uuid: str | None) -> None:
    """Note what a claimed instance is called now."""
    connection.execute(
        "UPDATE seats SET mig_uuid = ? WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", (mig_uuid, *key(seat))
    )


def release_seat(connection: sqlite3.Connection, seat: InstanceKey) -> None:
    """A claim that loses its last seat ends; one that never had any is not concerned."""
    where = "WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)"
    row = connection.execute(f"SELECT claim FROM seats {where}", key(seat)).fetchone()
    if row is not None:
        delete(connection, "seats", seat)
        connection.execute("DELETE FROM claims WHERE id = ? AND id NOT IN (SELECT claim FROM seats)", row)


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
    connection.execute(f"DELETE FROM {table} WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", key(seat))


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
