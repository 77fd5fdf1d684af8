# SPDX-License-Identifier: Apache-2.0
"""The ledger: claims, the instances that hamid created, and the journal of steps, in one SQLite file.

Invariant: a change is on disk, completely or not at all, when its method returns. Only the process that holds the
lock writes. A ledger that cannot be trusted is set aside and never read as empty.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

import msgspec
from msgspec.structs import replace

from hamid.core.claims.claim import Claim, ClaimedSeat, ClaimedShare, InstanceKey, LedgerFacts, OwnInstance, PodOwner
from hamid.core.claims.grant import Grant
from hamid.core.claims.journal import EntryState, Goal, Prior, Run
from hamid.core.claims.restore import ending_steps, is_promised
from hamid.core.errors import LedgerFailed
from hamid.core.planner.plan import Step
from hamid.node.ledger import files, rows
from hamid.node.ledger import lock as ledger_lock
from hamid.node.ledger.cache import FactsCache
from hamid.node.ledger.reader import rebuilt_warning
from hamid.node.paths import Paths
from hamid.node.system.boot import boot_id

# Ended runs are kept for people who ask what happened.
_KEPT_RUNS = 100
# Of runs: the open ones that end a claim, each its own.
_ENDING = f"ended IS NULL AND goal = '{Goal.EACH.value}' AND claim IS NOT NULL"


class Ledger:
    """The ledger, open for writing until `close`; one connection behind a lock, which threads share."""

    def __init__(self, paths: Paths, connection: sqlite3.Connection, lock: int) -> None:
        self._paths = paths
        self._connection = connection
        self._lock = lock
        self._guard = threading.RLock()
        self._cache = FactsCache()
        self._command = ledger_lock.own_command()
        self.boot = boot_id(paths)

    @classmethod
    def open(cls, paths: Paths, *, wait_seconds: float = 0.0) -> Self:
        """Take the writer's lock and open; raises LedgerBusy, LedgerFailed or NotPermitted.

        A ledger that cannot be trusted is put aside; the one in its place is not `trusted` until `adopt` was told
        what is there.
        """
        path = paths.ledger
        try:
            os.makedirs(paths.state_dir, mode=0o755, exist_ok=True)  # pathlib costs start-up
            lock = ledger_lock.take(f"{path}.lock", wait_seconds)
        except OSError as error:
            raise files.failed(error, path) from error
        try:
            ledger = cls(paths, _connect(path), lock)
            files.mark(path)
            ledger._note_boot()
        except (OSError, sqlite3.Error) as error:
            os.close(lock)
            raise files.failed(error, path) from error
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
            return self._cache.read(connection, self.boot, rebuilt_warning(self._paths))

    # -- claims --

    def release_seat(self, seat: InstanceKey) -> None:
        """Take one instance from the claim that holds it; a claim without any ends."""
        with self._changing() as connection:
            rows.release_seat(connection, seat)

    def rename_seat(self, seat: InstanceKey, mig_uuid: str | None) -> None:
        """Note what a claimed instance is called now."""
        with self._changing() as connection:
            rows.rename_seat(connection, seat, mig_uuid)

    # -- instances --

    def forget(self, seat: InstanceKey) -> None:
        """Our instance on this seat is gone."""
        with self._changing() as connection:
            rows.delete(connection, "instances", seat)

    def adopt(self, seats: Iterable[InstanceKey]) -> None:
        """Record the instances that existed when a lost ledger was rebuilt; none is destroyed until it is explained."""
        with self._changing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO unexplained (gpu_uuid, profile_id, start) VALUES (?, ?, ?)", map(rows.key, seats)
            )
            connection.execute("INSERT OR REPLACE INTO meta SELECT 'adopting', value FROM meta WHERE key = 'rebuilt'")
            connection.execute("DELETE FROM meta WHERE key = 'rebuilt'")

    def adopt_claim(
        self,
        owner: PodOwner,
        granted: Grant,
        *,
        seats: Sequence[ClaimedSeat] = (),
        shares: Sequence[ClaimedShare] = (),
    ) -> Claim:
        """A claim that was granted before the ledger was lost holds again. What was `made` for it is ours."""
        with self._changing() as connection:
            run = self._add_run(connection, (), Goal.ALL)
            self._end_run(connection, run, "adopted")
            claim = Claim(id=run, owner=owner, seats=tuple(seats), shares=tuple(shares))
            rows.add_claim(connection, claim, replace(granted, claim=run))
            for each in seats:
                rows.delete(connection, "unexplained", each.seat)
                if each.made:
                    rows.set_own(connection, each.seat, _own(each, rows.next_generation(connection)))
            return claim

    def end_adoption(self, seats: Iterable[InstanceKey]) -> None:
        """Record that no claim holds these, and that all claims are known."""
        with self._changing() as connection:
            for seat in seats:
                rows.delete(connection, "unexplained", seat)
            connection.execute("DELETE FROM meta WHERE key = 'adopting'")

    def explain(self, seats: Iterable[InstanceKey]) -> None:
        """Record that no claim holds these, or that they no longer exist."""
        with self._changing() as connection:
            for seat in seats:
                rows.delete(connection, "unexplained", seat)

    # -- the journal --

    def begin_run(
        self,
        steps: Sequence[Step],
        *,
        goal: Goal,
        operator_name: str = "",
        claim_seats: Sequence[InstanceKey] = (),
        releases: Sequence[InstanceKey] = (),
    ) -> int:
        """Write down a whole plan before its first step; `releases` leave their claims at the same moment.

        It makes a claim for the operator who gave a name to it.
        """
        with self._changing() as connection:
            for seat in releases:
                rows.release_seat(connection, seat)
            return self._add_run(connection, steps, goal, operator_name=operator_name, seats=claim_seats)

    def begin_ending(self, claim_id: int, indices: Mapping[str, int]) -> int | None:
        """The open run that ends a claim, written down now unless there is one; None when the claim is gone.

        `indices` are NVML indices by uuid. It covers what was made for the claim up to this moment.
        """
        with self._changing() as connection:
            claim = rows.claims(connection, (claim_id,)).get(claim_id)
            if claim is None:
                return None
            for (run,) in connection.execute(f"SELECT run FROM runs WHERE {_ENDING} AND claim = ?", (claim_id,)):
                return int(run)
            return self._add_run(connection, tuple(ending_steps(claim, indices)), Goal.EACH, claim=claim_id)

    def ending(self) -> frozenset[int]:
        """The ids of the claims that an open run ends."""
        with self._reading() as connection:
            return frozenset(each for (each,) in connection.execute(f"SELECT claim FROM runs WHERE {_ENDING}"))

    def begin_step(self, run: int, position: int, prior: Prior) -> int:
        """Write down that a step begins; the generation of what it makes."""
        with self._changing(anything=False) as connection:
            generation = rows.next_generation(connection)
            connection.execute(
                "INSERT OR REPLACE INTO journal (run, position, prior, generation, state) VALUES (?, ?, ?, ?, ?)",
                (run, position, msgspec.json.encode(prior), generation, EntryState.BEGIN.value),
            )
            return generation

    def end_step(
        self,
        run: int,
        position: int,
        state: EntryState,
        *,
        seat: InstanceKey | None = None,
        own: OwnInstance | None = None,
        made: bool = False,
        promised: bool = False,
    ) -> bool:
        """Record the end of a step and, for one with a seat, hamid's instance there now (None: none).

        With `made`, the instance is destroyed with its claim, even if the claim started with a foreign instance.
        With `promised`, record nothing and return False if no claim is to have an instance on the seat any more.
        The check and the record are one transaction, as the start of a claim's end is.
        """
        with self._changing(anything=False) as connection:
            if promised and seat is not None and not is_promised(seat, self.facts(), self.ending()):
                return False
            connection.execute(
                "UPDATE journal SET state = ?, mig_uuid = ? WHERE (run, position) = (?, ?)",
                (state.value, own.mig_uuid if own else None, run, position),
            )
            if seat is not None:
                self._cache.touch(*rows.claims_on(connection, seat), own=True)
                rows.set_own(connection, seat, own, made=made)
        return True

    def end_run(
        self, run: int, outcome: str, *, seats: Sequence[ClaimedSeat] | None = None, drops: int | None = None
    ) -> None:
        """The plan is over, and from the same moment the claim that it `drops` is no more.

        With `seats` the operator's claim that it was to make holds them from that moment.
        """
        with self._changing() as connection:
            if seats is not None:
                (name,) = connection.execute("SELECT operator_name FROM runs WHERE run = ?", (run,)).fetchone()
                rows.add_operators_claim(connection, Claim(id=run, operator_name=name, seats=tuple(seats)))
            if drops is not None:
                rows.release_claim(connection, drops)
            self._end_run(connection, run, outcome)

    def open_runs(self) -> tuple[Run, ...]:
        """Plans that are not over, the latest first."""
        with self._reading() as connection:
            found = connection.execute(f"SELECT {rows.RUN_COLUMNS} FROM runs WHERE ended IS NULL ORDER BY run DESC")
            return tuple(rows.run(connection, row) for row in found.fetchall())

    def run(self, number: int) -> Run:
        """One plan with its journal as it is now."""
        with self._reading() as connection:
            found = connection.execute(f"SELECT {rows.RUN_COLUMNS} FROM runs WHERE run = ?", (number,))
            return rows.run(connection, found.fetchone())

    # -- claims of pods --

    def begin_grant(
        self,
        owner: PodOwner,
        steps: Sequence[Step],
        *,
        seats: Sequence[ClaimedSeat] = (),
        shares: Sequence[ClaimedShare] = (),
    ) -> Claim:
        """Write down a pending claim of a container with the plan that makes it; its id is also the run's number.

        Raises UsageError for a seat that is promised already.
        """
        with self._changing(anything=False) as connection:
            run = self._add_run(connection, steps, Goal.ALL, seats=[each.seat for each in seats])
            self._cache.touch(run)
            connection.execute("UPDATE runs SET claim = run WHERE run = ?", (run,))
            claim = Claim(id=run, owner=owner, pending=True, seats=tuple(seats), shares=tuple(shares))
            rows.add_claim(connection, claim)
            return claim

    def finish_grant(self, claim: int, granted: Grant, uuids: Mapping[InstanceKey, str | None]) -> None:
        """The plan that makes the claim is done, and from the same moment the claim holds."""
        with self._changing(anything=False) as connection:
            self._cache.touch(claim)
            rows.set_granted(connection, claim, granted, uuids)
            self._end_run(connection, claim, "done")

    def regrant(self, claim: int, owner: PodOwner, granted: Grant, uuids: Mapping[InstanceKey, str | None]) -> None:
        """Record a new owner or a new grant of a finished claim."""
        with self._changing() as connection:
            rows.set_owner(connection, claim, owner)
            rows.set_granted(connection, claim, granted, uuids)

    def confirm(self, claim: Claim, owner: PodOwner) -> bool:
        """The claim's owner is this one, as kubelet says; False when the claim was handed on or ended meanwhile."""
        with self._changing() as connection:
            found = rows.claims(connection, (claim.id,)).get(claim.id)
            if found is None or found.owner != claim.owner:
                return False
            rows.set_owner(connection, claim.id, owner)
            return True

    def granted(self, claim: int) -> Grant | None:
        """What the container of a claim received; None for one that is pending, an operator's or unknown."""
        with self._reading() as connection:
            return rows.granted(connection, claim)

    # -- inside --

    def _add_run(
        self,
        connection: sqlite3.Connection,
        steps: Sequence[Step],
        goal: Goal,
        *,
        operator_name: str = "",
        seats: Sequence[InstanceKey] = (),
        claim: int | None = None,
    ) -> int:
        row = (
            self.boot,
            goal.value,
            operator_name or None,
            msgspec.json.encode(tuple(seats)),
            msgspec.json.encode(tuple(steps)),
            os.getpid(),
            self._command,
            rows.now(),
            claim,
        )
        columns = "boot_id, goal, operator_name, claim_seats, steps, pid, command, begun_at, claim"
        run = connection.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row).lastrowid or 0
        if operator_name:
            connection.execute("UPDATE runs SET claim = run WHERE run = ?", (run,))
        return run

    @staticmethod
    def _end_run(connection: sqlite3.Connection, run: int, outcome: str) -> None:
        connection.execute("UPDATE runs SET ended = ? WHERE run = ?", (outcome, run))
        connection.execute("DELETE FROM runs WHERE ended IS NOT NULL AND run <= ?", (run - _KEPT_RUNS,))

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
            except (sqlite3.Error, msgspec.MsgspecError, UnicodeError) as error:
                raise files.failed(error, self._paths.ledger) from error

    @contextmanager
    def _changing(self, *, anything: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction. One that does not change just `anything` touches the cache itself."""
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if anything:
                self._cache.touch_all()
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
        return files.connect_writer(path)
    except files.Unusable as error:
        files.mark(path)
        aside = files.set_aside(path, str(error))
        why = f"the ledger was {error} and is now '{aside}'"
    try:
        return files.connect_writer(path, why)
    except files.Unusable as error:
        raise LedgerFailed(f"'{path}' cannot be rebuilt", "check the directory and its file system") from error


def _own(each: ClaimedSeat, generation: int) -> OwnInstance:
    return OwnInstance(
        seat=each.seat, profile=each.profile, size=each.size, generation=generation, mig_uuid=each.mig_uuid
    )
