# SPDX-License-Identifier: Apache-2.0
"""The ledger when its file, its disk or its neighbours misbehave: nothing is lost, nothing untrue is believed."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import add_claim, release_claim
from support.narrow import present

from hamid.core.claims.claim import ClaimedSeat, InstanceKey
from hamid.core.claims.journal import Goal
from hamid.core.errors import HamiError, LedgerBusy, LedgerFailed, NotPermitted, UsageError
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import CreateInstance
from hamid.node.ledger import files, schema
from hamid.node.ledger.ledger import Ledger
from hamid.node.ledger.reader import read_facts
from hamid.node.paths import Paths

SEAT = ClaimedSeat(seat=InstanceKey("GPU-a", 14, 2), profile="2g.10gb", size=2, made=True, mig_uuid="MIG-x")
STEP = CreateInstance(
    gpu_uuid="GPU-a", gpu_index=0, profile="2g.10gb", profile_id=14, placement=Placement(start=0, size=2)
)


@pytest.fixture
def paths(tmp_path):
    return Paths(str(tmp_path))


@pytest.fixture
def filled(paths):
    """A ledger with one claim, closed."""
    with closing(Ledger.open(paths)) as ledger:
        add_claim(ledger, "job", [SEAT])
    return paths


def names(paths):
    return [claim.name for claim in read_facts(paths).claims]


def aside(paths):
    """What was kept aside."""
    return [path for path in Path(paths.state_dir).glob("ledger.db.*Z") if path.is_file()]


def reopened(paths):
    """Whether the ledger that a writer opens now says that it was rebuilt."""
    with closing(Ledger.open(paths)) as ledger:
        facts = ledger.facts()
        return not facts.trusted


def test_a_node_without_a_ledger_has_no_claims_and_no_doubts(paths):
    """Before the first change there is nothing to read, and that is no problem."""
    facts = read_facts(paths)
    assert facts.trusted
    assert facts.claims == ()
    assert not Path(paths.state_dir).exists()


def test_what_was_written_is_there_after_a_restart(filled):
    """A claim, its seats and what they are called survive the process."""
    (claim,) = read_facts(filled).claims
    assert claim.seats == (SEAT,)


def test_a_lost_ledger_is_not_an_empty_one(filled):
    """With its file gone every instance counts as used, for readers and for the writer that rebuilds it."""
    for tail in ("", "-wal", "-shm"):
        if Path(filled.ledger + tail).exists():
            Path(filled.ledger + tail).unlink()
    facts = read_facts(filled)
    assert not facts.trusted
    assert "lost" in facts.warnings[0]
    assert reopened(filled)


def test_a_doubtful_ledger_stays_doubtful_until_somebody_explains(filled):
    """Opening it twice does not make it trustworthy; telling it what lies there does, and leaves doubts on those."""
    Path(filled.ledger).unlink()
    assert reopened(filled)
    assert reopened(filled)
    with closing(Ledger.open(filled)) as ledger:
        ledger.adopt([SEAT.seat])
        assert ledger.facts().trusted
        assert ledger.facts().unexplained == {SEAT.seat}
        ledger.explain([SEAT.seat])
    assert read_facts(filled).unexplained == frozenset()


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_ledger_is_kept_aside(filled, content):
    """Readers distrust it; the writer renames it, tells where it is, and begins a doubtful one."""
    with Path(filled.ledger).open("wb") as file:
        file.write(content)
    for tail in ("-wal", "-shm"):
        if Path(filled.ledger + tail).exists():
            Path(filled.ledger + tail).unlink()
    assert not read_facts(filled).trusted
    with closing(Ledger.open(filled)) as ledger:
        facts = ledger.facts()
    assert not facts.trusted
    if content:
        (kept,) = aside(filled)
        assert str(kept) in facts.warnings[0]
        assert kept.read_bytes() == content


@given(where=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_ledger_never_loses_a_claim_in_silence(tmp_path_factory, where, byte, cut):
    """One byte changed or the tail cut off: the claim is there as it was, or the ledger is not trusted."""
    paths = Paths(str(tmp_path_factory.mktemp("damaged")))
    with closing(Ledger.open(paths)) as ledger:
        add_claim(ledger, "job", [SEAT])
        ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with Path(paths.ledger).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        place = min(int(where * size), size - 1)
        if cut:
            file.truncate(place)
        else:
            file.seek(place)
            file.write(bytes([byte]))
    facts = read_facts(paths)
    whole = [(claim.name, claim.seats) for claim in facts.claims] == [("job", (SEAT,))]
    assert whole or not facts.trusted or _says_something_else(facts)
    try:
        with closing(Ledger.open(paths)) as ledger:
            add_claim(ledger, "next", [])
            ledger.facts()
    except HamiError:
        return


def _says_something_else(facts):
    """A byte within a text or number of the row itself: still one claim with one seat, under another spelling."""
    return len(facts.claims) == 1 and len(facts.claims[0].seats) == 1


def test_a_seat_of_no_claim_is_damage(filled):
    """A claim's own id is damaged, so that its seats have no claim: the ledger is not trusted and kept aside."""
    with closing(sqlite3.connect(filled.ledger)) as connection, connection:
        connection.execute("UPDATE claims SET id = id + 1")
    assert not read_facts(filled).trusted
    with closing(Ledger.open(filled)) as ledger:
        assert not ledger.facts().trusted
    assert aside(filled)


def test_a_ledger_of_a_later_release_is_not_touched(filled):
    """A file that says it needs a later release is kept aside by a writer and distrusted by a reader."""
    with closing(sqlite3.connect(filled.ledger)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'opens_from'", (str(schema.VERSION + 1),))
        connection.commit()
    assert not read_facts(filled).trusted
    assert reopened(filled)
    (kept,) = aside(filled)
    assert "newer" in kept.name


def test_an_added_table_of_a_later_release_does_not_stop_this_one(filled):
    """Migrations only add: a file that a later release grew is read and written, and keeps what it has more."""
    with closing(sqlite3.connect(filled.ledger)) as connection:
        connection.execute("CREATE TABLE later (claim TEXT, memory INTEGER)")
        connection.execute("INSERT INTO later VALUES ('job', 1)")
        connection.execute("ALTER TABLE claims ADD COLUMN pod TEXT")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        connection.commit()
    assert names(filled) == ["job"]
    with closing(Ledger.open(filled)) as ledger:
        assert ledger.facts().trusted
        add_claim(ledger, "next", [])
    assert sorted(names(filled)) == ["job", "next"]
    with closing(sqlite3.connect(filled.ledger)) as connection:
        assert connection.execute("SELECT * FROM later").fetchall() == [("job", 1)]
        assert connection.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION + 1


def test_the_second_writer_is_told_who_holds_the_lock(filled):
    """One writer at a time, across processes; the refusal names pid and command, and ends with the holder."""
    program = (
        "import sys\nfrom hamid.node.ledger.ledger import Ledger\nfrom hamid.node.paths import Paths\n"
        "ledger = Ledger.open(Paths(sys.argv[1]))\nprint('held', flush=True)\ninput()\n"
    )
    command = [sys.executable, "-c", program, filled.root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert present(holder.stdout).readline() == "held\n"
        with pytest.raises(LedgerBusy) as caught:
            Ledger.open(filled)
        assert str(holder.pid) in str(caught.value)
        assert "python" in str(caught.value)
        assert names(filled) == ["job"]
        holder.kill()
        holder.wait()
    with closing(Ledger.open(filled)) as ledger:
        assert [claim.name for claim in ledger.facts().claims] == ["job"]


def test_a_full_disk_loses_nothing(filled):
    """A write that does not fit fails as a whole; the old content stays, and with free space writing works again."""
    with closing(Ledger.open(filled)) as ledger:
        ledger._connection.execute("PRAGMA max_page_count = 1")
        pages = ledger._connection.execute("PRAGMA max_page_count").fetchone()[0]
        many = [
            ClaimedSeat(seat=InstanceKey(f"GPU-{number}", 1, 0), profile="1g.5gb", size=1, made=True)
            for number in range(5000)
        ]
        with pytest.raises(LedgerFailed) as caught:
            add_claim(ledger, "large", many)
        assert "full" in str(caught.value)
        assert "space" in caught.value.hint
        assert [claim.name for claim in ledger.facts().claims] == ["job"]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages + 10_000}")
        add_claim(ledger, "large", many)
    assert sorted(names(filled)) == ["job", "large"]


def test_a_file_that_may_not_grow_loses_nothing(filled):
    """With the kernel refusing to extend any file, a child's change fails cleanly and the ledger is whole after."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        code = 1
        try:
            ledger = Ledger.open(filled)
            add_claim(ledger, "next", [])
        except HamiError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert names(filled) == ["job"]
    with closing(Ledger.open(filled)) as ledger:
        assert ledger.facts().trusted


def test_who_may_not_write_is_told_how(filled):
    """A user without rights gets NotPermitted with a hint, and can still read."""
    Path(filled.state_dir).chmod(0o755)
    Path(filled.ledger).chmod(0o644)
    for part in _parents(filled.root):
        part.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setuid(65534)
            facts = read_facts(filled)
            Ledger.open(filled)
        except NotPermitted as error:
            code = 0 if facts.trusted and facts.claims and "sudo" in error.hint else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _parents(path):
    """The folders of this test above a path."""
    return [part for part in (Path(path), *Path(path).parents) if "pytest" in str(part)]


def test_a_reader_that_may_not_look_takes_everything_for_used(filled):
    """An unreadable ledger is a warning and no trust, never an empty node."""
    for part in _parents(filled.root):
        part.chmod(0o755)
    Path(filled.ledger).chmod(0o600)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setuid(65534)
            facts = read_facts(filled)
            code = 0 if not facts.trusted and facts.warnings else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_claim_is_whole_or_not_at_all(filled):
    """A seat that is taken refuses the whole claim."""
    free = ClaimedSeat(seat=InstanceKey("GPU-a", 14, 4), profile="2g.10gb", size=2, made=True)
    with closing(Ledger.open(filled)) as ledger:
        with pytest.raises(UsageError):
            add_claim(ledger, "next", [free, SEAT])
        with pytest.raises(UsageError):
            add_claim(ledger, "job", [free])
    (claim,) = read_facts(filled).claims
    assert claim.name == "job"
    assert claim.seats == (SEAT,)


def test_instances_do_not_outlive_a_boot(filled, tmp_path):
    """With another boot id readers and the next writer know that what was made before is gone; claims stay."""
    with closing(Ledger.open(filled)) as ledger:
        ledger.adopt([SEAT.seat])
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("another\n", encoding="ascii")
    assert read_facts(filled).unexplained == frozenset()
    with closing(Ledger.open(filled)) as ledger:
        assert ledger.facts().own == ()
        assert ledger.facts().unexplained == frozenset()
        assert [claim.name for claim in ledger.facts().claims] == ["job"]


def test_readers_beside_a_writer_see_whole_changes(filled):
    """A reader sees both seats of a pair or none while claims come and go."""
    pair = [ClaimedSeat(seat=InstanceKey("GPU-b", 1, start), profile="1g.5gb", size=1, made=True) for start in (0, 1)]
    ended = threading.Event()
    seen = []

    def read():
        while not ended.is_set():
            facts = read_facts(filled)
            seen.append((facts.trusted, *(len(claim.seats) for claim in facts.claims if claim.name == "pair")))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    with closing(Ledger.open(filled)) as ledger:
        for _ in range(100):
            add_claim(ledger, "pair", pair)
            release_claim(ledger, "pair")
    ended.set()
    for reader in readers:
        reader.join()
    assert set(seen) <= {(True,), (True, 2)}
    assert len(seen) > 10


def test_threads_share_one_writer(filled):
    """Many threads of one process change the ledger at once; every change is there."""
    with closing(Ledger.open(filled)) as ledger:
        threads = [threading.Thread(target=add_claim, args=(ledger, f"job-{n}")) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(names(filled)) == {"job", *(f"job-{n}" for n in range(32))}


def test_a_link_in_the_ledgers_place_is_not_followed(paths, tmp_path):
    """A link in the place of the ledger cannot make hamid write elsewhere."""
    Path(paths.state_dir).mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    Path(paths.ledger).symlink_to(victim)
    with pytest.raises(HamiError):
        Ledger.open(paths)
    assert victim.read_text() == "mine"


def test_a_run_is_in_the_journal_before_its_first_step(filled):
    """The plan, the process that began it and its boot are there after a kill."""
    child = os.fork()
    if child == 0:
        ledger = Ledger.open(filled)
        ledger.begin_run([STEP], goal=Goal.ALL, operator_name="next", claim_seats=[InstanceKey("GPU-a", 14, 0)])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with closing(Ledger.open(filled)) as ledger:
        (run,) = ledger.open_runs()
    assert run.pid == child
    assert run.steps == (STEP,)
    assert (run.claim, run.operator_name) == (run.run, "next")
    assert run.entries == ()
    assert run.boot_id == ledger.boot


def test_the_marker_is_written_before_anything_can_be_lost(paths):
    """Even a ledger that was never filled is known to have been there."""
    assert files.state_of(paths.ledger) == "none"
    Ledger.open(paths).close()
    Path(paths.ledger).unlink()
    assert files.state_of(paths.ledger) == "lost"
