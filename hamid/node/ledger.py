# SPDX-License-Identifier: Apache-2.0
"""The ledger: claims, the instances that we made, and the journal of steps, in one SQLite file.

The law: a change is on disk when the method that makes it returns, whole or not at all, and only the process that
holds the lock writes. What cannot be trusted is kept aside and never read as "nothing".
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Self

import msgspec

from hamid.core.claims import Claim, ClaimedSeat, LedgerFacts, OwnInstance, Seat
from hamid.core.errors import LedgerFailed, UsageError
from hamid.core.journal import Entry, EntryState, Goal, Prior, Run
from hamid.core.steps import CreateInstance, Step
from hamid.node import ledger_files, ledger_lock
from hamid.node.boot import boot_id
from hamid.node.paths import Paths

_STEPS = tuple[Step, ...]
_SEATS = tuple[Seat, ...]
# Ended runs are kept for people who ask what happened.
_KEPT_RUNS = 100
_UNREADABLE = "the ledger '{path}' {why}: every instance counts as used"


def read_facts(paths: Paths) -> LedgerFacts:
    """What the ledger says, for a reader; never raises: a ledger that cannot be read makes everything used."""
    try:
        state = ledger_files.state_of(paths.ledger)
        if state == "none":
            return LedgerFacts()
        if state == "lost":
            return _untrusted(paths, "was lost")
        with closing(ledger_files.connect_reader(paths.ledger)) as connection:
            # One moment for all tables, whatever is written meanwhile.
            connection.execute("BEGIN")
            return _facts(connection, boot_id(paths), paths)
    except ledger_files.Unusable as error:
        return _untrusted(paths, f"is {error}")
    except OSError as error:
        return _untrusted(paths, f"cannot be read ({error.strerror})")
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        return _untrusted(paths, f"cannot be read ({error})")


class Ledger:
    """The ledger, open for writing until `close`; one connection behind a lock, which threads share."""

    def __init__(self, paths: Paths, connection: sqlite3.Connection, lock: int) -> None:
        self._paths = paths
        self._connection = connection
        self._lock = lock
        self._guard = threading.RLock()
        self.boot = boot_id(paths)

    @classmethod
    def open(cls, paths: Paths, *, wait_seconds: float = 0.0) -> Self:
        """Take the writer's lock and open; raises LedgerBusy, LedgerFailed or NotPermitted.

        A ledger that cannot be trusted is put aside; the one in its place is not `trusted` until `adopt` was told
        what is there.
        """
        path = paths.ledger
        try:
            os.makedirs(paths.state_dir, mode=0o755, exist_ok=True)  # noqa: PTH103  # pathlib costs start-up
            lock = ledger_lock.take(f"{path}.lock", wait_seconds)
        except OSError as error:
            raise ledger_files.failed(error, path) from error
        try:
            ledger = cls(paths, _connect(path), lock)
            ledger_files.mark(path)
            ledger._note_boot()
        except (OSError, sqlite3.Error) as error:
            os.close(lock)
            raise ledger_files.failed(error, path) from error
        except BaseException:
            os.close(lock)
            raise
        return ledger

    def close(self) -> None:
        """Let others write."""
        with self._guard:
            self._connection.close()
            os.close(self._lock)

    def facts(self) -> LedgerFacts:
        """Claims, instances and doubts."""
        with self._reading() as connection:
            return _facts(connection, self.boot, self._paths)

    def claims(self) -> tuple[Claim, ...]:
        """Every claim with its seats."""
        return self.facts().claims

    def instances(self) -> tuple[OwnInstance, ...]:
        """The instances that we made in this boot."""
        return self.facts().own

    # -- claims --

    def add_claim(self, name: str, seats: Sequence[ClaimedSeat]) -> None:
        """Promise seats to a name that nobody has; raises UsageError if one of them is promised already."""
        with self._changing() as connection:
            _add_claim(connection, name, seats)

    def release_claim(self, name: str) -> None:
        """End a claim; its instances stay."""
        with self._changing() as connection:
            connection.execute("DELETE FROM claims WHERE name = ?", (name,))

    def release_seat(self, seat: Seat) -> None:
        """Take one instance from the claim that holds it; a claim without any ends."""
        with self._changing() as connection:
            _release_seat(connection, seat)

    def rename_seat(self, seat: Seat, mig_uuid: str | None) -> None:
        """Note what a claimed instance is called now."""
        with self._changing() as connection:
            connection.execute(
                "UPDATE seats SET mig_uuid = ? WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", (mig_uuid, *_key(seat))
            )

    # -- instances --

    def forget(self, seat: Seat) -> None:
        """Our instance on this seat is gone."""
        with self._changing() as connection:
            _delete(connection, "instances", seat)

    def adopt(self, seats: Iterable[Seat]) -> None:
        """What lay on the node when a lost ledger was made anew; each must be explained before it may go."""
        with self._changing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO unexplained (gpu_uuid, profile_id, start) VALUES (?, ?, ?)", map(_key, seats)
            )
            connection.execute("DELETE FROM meta WHERE key = 'rebuilt'")

    def explain(self, seats: Iterable[Seat]) -> None:
        """These are nobody's, or gone."""
        with self._changing() as connection:
            for seat in seats:
                _delete(connection, "unexplained", seat)

    # -- the journal --

    def begin_run(
        self,
        steps: Sequence[Step],
        *,
        goal: Goal,
        claim: str | None = None,
        claim_seats: Sequence[Seat] = (),
        releases: Sequence[Seat] = (),
    ) -> int:
        """Write down a whole plan before its first step; `releases` leave their claims at the same moment."""
        with self._changing() as connection:
            for seat in releases:
                _release_seat(connection, seat)
            row = (
                self.boot,
                goal.value,
                claim,
                msgspec.json.encode(tuple(claim_seats)),
                msgspec.json.encode(tuple(steps)),
                os.getpid(),
                ledger_lock.own_command(),
                _now(),
            )
            columns = "boot_id, goal, claim, claim_seats, steps, pid, command, begun_at"
            cursor = connection.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
            return int(cursor.lastrowid or 0)

    def begin_step(self, run: int, position: int, prior: Prior) -> int:
        """Write down that a step begins; the generation of what it makes."""
        with self._changing() as connection:
            generation = _next_generation(connection)
            connection.execute(
                "INSERT OR REPLACE INTO journal (run, position, prior, generation, state) VALUES (?, ?, ?, ?, ?)",
                (run, position, msgspec.json.encode(prior), generation, EntryState.BEGIN.value),
            )
            return generation

    def end_step(
        self, run: int, position: int, state: EntryState, *, seat: Seat | None = None, own: OwnInstance | None = None
    ) -> None:
        """Write down how a step ended and, for one with a seat, which instance of ours lies there now (None: none)."""
        with self._changing() as connection:
            connection.execute(
                "UPDATE journal SET state = ?, mig_uuid = ? WHERE (run, position) = (?, ?)",
                (state.value, own.mig_uuid if own else None, run, position),
            )
            if seat is not None:
                _set_own(connection, seat, own)

    def end_run(self, run: int, outcome: str, *, claim: str | None = None, seats: Sequence[ClaimedSeat] = ()) -> None:
        """The plan is over; its claim holds from the same moment."""
        with self._changing() as connection:
            if claim is not None:
                _add_claim(connection, claim, seats)
            connection.execute("UPDATE runs SET ended = ? WHERE run = ?", (outcome, run))
            connection.execute("DELETE FROM runs WHERE ended IS NOT NULL AND run <= ?", (run - _KEPT_RUNS,))

    def open_runs(self) -> tuple[Run, ...]:
        """Plans that are not over, the latest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT run, boot_id, goal, claim, claim_seats, steps, pid, command FROM runs WHERE ended IS NULL "
                "ORDER BY run DESC"
            ).fetchall()
            return tuple(_run(connection, row) for row in rows)

    def run(self, number: int) -> Run:
        """One plan with its journal as it is now."""
        return next(run for run in self.open_runs() if run.run == number)

    # -- inside --

    def _note_boot(self) -> None:
        """Instances never outlive a boot."""
        with self._changing() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'boot_id'").fetchone()
            if row is None or row[0] != self.boot:
                connection.execute("DELETE FROM instances")
                connection.execute("DELETE FROM unexplained")
                connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot_id', ?)", (self.boot,))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise ledger_files.failed(error, self._paths.ledger) from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                self._commit()
            except BaseException:
                # A full disk may have rolled back already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _commit(self) -> None:
        self._connection.execute("COMMIT")


def _connect(path: str) -> sqlite3.Connection:
    try:
        return ledger_files.connect_writer(path)
    except ledger_files.Unusable as error:
        ledger_files.mark(path)
        aside = ledger_files.set_aside(path, str(error))
        why = f"the ledger was {error} and is now '{aside}'"
    try:
        return ledger_files.connect_writer(path, why)
    except ledger_files.Unusable as error:
        raise LedgerFailed(f"'{path}' cannot be made anew", "see the directory and its file system") from error


def _untrusted(paths: Paths, why: str) -> LedgerFacts:
    return LedgerFacts(trusted=False, warnings=(_UNREADABLE.format(path=paths.ledger, why=why),))


def _facts(connection: sqlite3.Connection, boot: str, paths: Paths) -> LedgerFacts:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    claims: dict[str, list[ClaimedSeat]] = {name: [] for (name,) in connection.execute("SELECT name FROM claims")}
    columns = "gpu_uuid, profile_id, start, profile, size"
    for name, made, mig_uuid, *row in connection.execute(f"SELECT claim, made, mig_uuid, {columns} FROM seats"):  # noqa: S608
        seat = ClaimedSeat(seat=Seat(*row[:3]), profile=row[3], size=row[4], made=bool(made), mig_uuid=mig_uuid)
        claims[name].append(seat)
    # What was made before a reboot is gone with it.
    here = meta.get("boot_id") == boot
    own = [
        OwnInstance(seat=Seat(*row[:3]), profile=row[3], size=row[4], generation=generation, mig_uuid=mig_uuid)
        for generation, mig_uuid, *row in connection.execute(f"SELECT generation, mig_uuid, {columns} FROM instances")  # noqa: S608
    ]
    unexplained = [Seat(*row) for row in connection.execute("SELECT gpu_uuid, profile_id, start FROM unexplained")]
    rebuilt = meta.get("rebuilt")
    return LedgerFacts(
        own=tuple(own) if here else (),
        claims=tuple(Claim(name=name, seats=tuple(seats)) for name, seats in claims.items()),
        unexplained=frozenset(unexplained) if here else frozenset(),
        trusted=rebuilt is None,
        warnings=() if rebuilt is None else (_UNREADABLE.format(path=paths.ledger, why=f"was made anew ({rebuilt})"),),
    )


def _run(connection: sqlite3.Connection, row: tuple[int, str, str, str | None, bytes, bytes, int, str]) -> Run:
    number, boot, goal, claim, claim_seats, encoded, pid, command = row
    steps = msgspec.json.decode(encoded, type=_STEPS)
    found = connection.execute(
        "SELECT position, prior, generation, state, mig_uuid FROM journal WHERE run = ? ORDER BY position", (number,)
    )
    entries = tuple(
        Entry(
            run=number,
            position=position,
            step=steps[position],
            prior=msgspec.json.decode(prior, type=Prior),
            generation=generation,
            state=EntryState(state),
            mig_uuid=mig_uuid if isinstance(steps[position], CreateInstance) else None,
        )
        for position, prior, generation, state, mig_uuid in found
    )
    seats = msgspec.json.decode(claim_seats, type=_SEATS)
    return Run(
        run=number,
        boot_id=boot,
        goal=Goal(goal),
        claim=claim,
        claim_seats=seats,
        pid=pid,
        command=command,
        steps=steps,
        entries=entries,
    )


def _add_claim(connection: sqlite3.Connection, name: str, seats: Sequence[ClaimedSeat]) -> None:
    if connection.execute("SELECT 1 FROM claims WHERE name = ?", (name,)).fetchone():
        raise UsageError(
            f"there is a claim '{name}' already", f"choose another name, or: hamictl mig release --name {name}"
        )
    connection.execute("INSERT INTO claims (name, made_at) VALUES (?, ?)", (name, _now()))
    for each in seats:
        try:
            connection.execute(
                "INSERT INTO seats (gpu_uuid, profile_id, start, claim, profile, size, made, mig_uuid) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*_key(each.seat), name, each.profile, each.size, each.made, each.mig_uuid),
            )
        except sqlite3.IntegrityError as error:
            raise UsageError(f"{each.profile}@{each.seat.start} belongs to another claim", "plan anew") from error


def _release_seat(connection: sqlite3.Connection, seat: Seat) -> None:
    """A claim that loses its last seat ends; one that never had any is not concerned."""
    where = "WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)"
    row = connection.execute(f"SELECT claim FROM seats {where}", _key(seat)).fetchone()  # noqa: S608
    if row is not None:
        _delete(connection, "seats", seat)
        connection.execute("DELETE FROM claims WHERE name = ? AND name NOT IN (SELECT claim FROM seats)", row)


def _set_own(connection: sqlite3.Connection, seat: Seat, own: OwnInstance | None) -> None:
    _delete(connection, "instances", seat)
    if own is not None:
        connection.execute(
            "INSERT INTO instances (gpu_uuid, profile_id, start, profile, size, generation, mig_uuid) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*_key(seat), own.profile, own.size, own.generation, own.mig_uuid),
        )


def _delete(connection: sqlite3.Connection, table: str, seat: Seat) -> None:
    connection.execute(f"DELETE FROM {table} WHERE (gpu_uuid, profile_id, start) = (?, ?, ?)", _key(seat))  # noqa: S608


def _next_generation(connection: sqlite3.Connection) -> int:
    (value,) = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (str(int(value) + 1),))
    return int(value) + 1


def _key(seat: Seat) -> tuple[str, int, int]:
    return (seat.gpu_uuid, seat.profile_id, seat.start)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
