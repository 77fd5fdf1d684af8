# SPDX-License-Identifier: Apache-2.0
"""A ledger of an earlier release says the same to this one, read or taken over, and after any interruption."""

import itertools
import os
import resource
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.old_ledgers import NAMES, put, said, says
from support.scene import in_child

from hamid.core.claims.journal import Goal
from hamid.core.errors import LedgerFailed
from hamid.node.ledger import schema
from hamid.node.ledger.ledger import Ledger
from hamid.node.ledger.reader import read_facts
from hamid.node.paths import Paths

KEPT = ("* FROM meta WHERE key <> 'opens_from'", "* FROM instances", "* FROM unexplained", "* FROM journal")
# Statement by statement is where a process may die, before and after each.
STATEMENTS = ("execute", "executemany", "backup")


@pytest.fixture
def paths(tmp_path):
    return Paths(str(tmp_path))


@pytest.fixture(params=NAMES)
def old(request, paths):
    """A node with the ledger of an earlier release; the ledger's name."""
    put(paths, request.param)
    return request.param


def rows(path, what):
    """Rows as they are in the file, by a connection that leaves no trace."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return ledger.execute(f"SELECT {what}").fetchall()


def version(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return ledger.execute("PRAGMA user_version").fetchone()[0]


def tables(paths):
    """Every table as it was made, but for the layout of the text."""
    return [(name, " ".join(text.split())) for name, text in rows(paths.ledger, "name, sql FROM sqlite_master") if text]


def take_over(paths):
    """A writer opens the ledger; its facts."""
    with closing(Ledger.open(paths)) as ledger:
        return ledger.facts()


def test_every_kind_of_claim_is_among_the_old_ledgers():
    """Operators' claims, confirmed, provisional, pending and unidentified ones, shares, instances that were found."""
    claims = [claim for name in NAMES for claim in said(name)]
    assert {claim["standing"] for claim in claims} == {"operator", "confirmed", "provisional", "pending"}
    assert {each["made"] for claim in claims for each in claim["instances"] if claim["pod"]} == {True, False}
    assert any(claim["shares"] for claim in claims)
    assert any(claim["name"].startswith("unidentified:") for claim in claims)


def test_a_reader_understands_an_old_ledger_and_leaves_it_alone(old, paths):
    """What hamictl shows beside an earlier hamid is what that release's own hamictl shows; no byte changes."""
    before = Path(paths.ledger).read_bytes()
    facts = read_facts(paths)
    assert says(old, facts) == said(old)
    assert facts.trusted
    assert Path(paths.ledger).read_bytes() == before


def test_a_migrated_ledger_says_the_same(old, paths):
    """Claims, instances, doubts and the journal are what they were, for the writer and for readers after it."""
    facts = read_facts(paths)
    kept = [rows(paths.ledger, what) for what in KEPT]
    assert take_over(paths) == facts == read_facts(paths)
    assert says(old, facts) == said(old)
    assert [rows(paths.ledger, what) for what in KEPT] == kept
    assert bool(facts.unexplained) == bool(facts.adopting) == old.startswith("doubtful")
    assert facts.own


def test_what_containers_received_is_kept(old, paths):
    """Each grant is there byte for byte as kubelet got it, under the claim's id."""
    before = dict(rows(paths.ledger, "claim, granted FROM owners WHERE pending = 0"))
    with closing(Ledger.open(paths)) as ledger:
        for claim in ledger.facts().claims:
            granted = ledger.granted(claim.id)
            assert (granted is not None) == (claim.name in before)
            if granted is not None:
                assert granted.claim == claim.id
                texts = (*granted.envs.values(), *(each.host_path for each in granted.devices))
                assert all(text.encode() in before[claim.name] for text in texts)


def test_a_migrated_ledger_has_the_tables_of_a_new_one(old, paths, tmp_path):
    """A ledger of each earlier schema gets the same tables and the version of today."""
    take_over(paths)
    fresh = Paths(str(tmp_path / "fresh"))
    take_over(fresh)
    assert sorted(tables(paths)) == sorted(tables(fresh))
    assert version(paths.ledger) == version(fresh.ledger) == schema.VERSION


def test_open_changes_stay_open(old, paths):
    """What a dead process of the earlier release began is in the journal, with the claim that it makes or ends."""
    before = rows(paths.ledger, "run, goal, claim FROM runs WHERE ended IS NULL ORDER BY run DESC")
    with closing(Ledger.open(paths)) as ledger:
        runs = ledger.open_runs()
        names = {claim.id: claim.name for claim in ledger.facts().claims}
    assert [(run.run, run.goal.value, names.get(run.claim or 0) or run.operator_name) for run in runs] == before
    assert bool(before) != old.startswith("doubtful")
    for run in runs:
        assert run.goal is Goal.EACH or run.claim == run.run


def test_later_claims_get_ids_that_no_claim_had(old, paths):
    """The next run's number is higher than every id, also the new ones of operators' claims."""
    take_over(paths)
    ids = [number for (number,) in rows(paths.ledger, "id FROM claims UNION SELECT run FROM runs")]
    with closing(Ledger.open(paths)) as ledger:
        assert ledger.begin_run((), goal=Goal.EACH) == max(ids) + 1


def test_the_first_schema_is_migrated_too(paths):
    """Before there were owners and shares every claim was an operator's."""
    put(paths, "operator-v2")
    with closing(sqlite3.connect(paths.ledger)) as ledger, ledger:
        ledger.executescript(
            "PRAGMA foreign_keys = ON; DELETE FROM claims WHERE name LIKE '%:%'; DROP TABLE owners; DROP TABLE shares;"
            "DELETE FROM runs WHERE claim LIKE '%:%'; PRAGMA user_version = 1;"
        )
    facts = read_facts(paths)
    assert [(claim.name, claim.owner) for claim in facts.claims] == [("first", None)]
    assert take_over(paths) == facts == read_facts(paths)


def test_an_earlier_release_does_not_open_a_migrated_ledger(old, paths):
    """By its own rule: it sets aside a file with a higher version that says it needs one."""
    before = version(paths.ledger)
    take_over(paths)
    ((opens_from,),) = rows(paths.ledger, "value FROM meta WHERE key = 'opens_from'")
    assert before < int(opens_from) <= schema.VERSION


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE {} SET {} = 'default/a/main' WHERE {} LIKE '%/main:%'",
        "UPDATE {} SET {} = replace({}, ':', ':0')",
    ],
)
def test_an_old_ledger_with_a_damaged_name_is_kept_aside(paths, damage):
    """A claim whose number cannot be told is damage, for readers and for the writer."""
    put(paths, "operator-v2")
    with closing(sqlite3.connect(paths.ledger)) as ledger, ledger:
        ledger.execute("DELETE FROM runs WHERE claim LIKE 'unidentified%'")
        for table, column in (("claims", "name"), ("owners", "claim"), ("seats", "claim")):
            ledger.execute(f"UPDATE {table} SET {column} = replace({column}, 'unidentified', 'default/b/main')")
            ledger.execute(damage.format(table, column, column))
    assert not read_facts(paths).trusted
    assert not take_over(paths).trusted
    assert list(Path(paths.state_dir).glob("ledger.db.corrupt-*Z"))


@pytest.mark.parametrize(
    "damage",
    [
        *(
            f"UPDATE owners SET granted = CAST('{text}' AS BLOB) WHERE granted IS NOT NULL"
            for text in ("{", "[]", "null", "3")
        ),
        "UPDATE owners SET granted = 3 WHERE granted IS NOT NULL",
        "UPDATE sqlite_sequence SET seq = NULL",
        "UPDATE sqlite_sequence SET seq = 'x'",
    ],
)
def test_an_old_ledger_with_a_damaged_value_is_kept_aside(paths, damage):
    """A value of another type than its column's, or a grant that cannot be read, is damage and never an exception."""
    put(paths, "busy-v2")
    with closing(sqlite3.connect(paths.ledger)) as ledger, ledger:
        ledger.execute(damage)
    assert not read_facts(paths).trusted
    assert not take_over(paths).trusted


# -- interruptions --


def at_statement(number, event):
    """Arms death at the number-th statement of a process: `c_call` is right before it, `c_return` right after."""

    def arm():
        passed = itertools.count(1)

        def watch(frame, what, argument):
            mine = what == event and argument.__name__ in STATEMENTS and "hamid/node/ledger" in frame.f_code.co_filename
            if mine and next(passed) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)

    return arm


def save(paths, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(paths.state_dir, folder)


def put_back(paths, folder):
    shutil.rmtree(paths.state_dir)
    shutil.copytree(folder, paths.state_dir)


def contents(paths):
    """What the ledger's files hold; the index of the log is made again from it."""
    found = Path(paths.state_dir).glob("ledger.db*")
    return frozenset((path.name, path.read_bytes()) for path in found if path.suffix not in {".db-shm", ".lock"})


def whole(name, paths, facts):
    """The ledger is the old one or the new one, says the same, and the next writer ends what was begun."""
    assert version(paths.ledger) in {2, schema.VERSION}
    assert read_facts(paths) == facts
    assert take_over(paths) == facts
    assert version(paths.ledger) == schema.VERSION
    assert says(name, read_facts(paths)) == said(name)


def test_a_kill_at_any_statement_leaves_the_old_or_the_new_ledger(paths, tmp_path):
    """The process that migrates dies before and after every statement; nothing is lost and nothing is half done."""
    put(paths, "busy-v2")
    facts = read_facts(paths)
    save(paths, tmp_path / "saved")
    found, points, judged = set(), 0, set()
    for event in ("c_call", "c_return"):
        for number in itertools.count(1):
            killed = in_child(lambda: Ledger.open(paths), at_statement(number, event))
            if not killed:
                break
            points += 1
            # What is left behind twice is judged once: the next process sees nothing else of the dead one.
            if (left := contents(paths)) not in judged:
                judged.add(left)
                found.add(version(paths.ledger))
                whole("busy-v2", paths, facts)
            put_back(paths, tmp_path / "saved")
        put_back(paths, tmp_path / "saved")
    assert found == {2, schema.VERSION}
    assert points > 100


def _migrate_and_die(paths):
    Ledger.open(paths)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_write_that_is_cut_off_leaves_the_old_or_the_new_ledger(old, paths, tmp_path):
    """Power fails after any number of the bytes that the migration writes, in the log and in the file itself."""
    facts = read_facts(paths)
    save(paths, tmp_path / "saved")
    # A child that is killed leaves its log as it is; one that closes writes it into the file.
    assert in_child(lambda: _migrate_and_die(paths), lambda: None)
    log = Path(f"{paths.ledger}-wal").read_bytes()
    save(paths, tmp_path / "killed")
    found = set()
    frame = 24 + int.from_bytes(log[8:12], "big")
    cuts = range(32, len(log) + 1, frame)
    for cut in sorted({0, 16, *cuts, *(each - 100 for each in cuts if each > frame)}):
        put_back(paths, tmp_path / "saved")
        Path(f"{paths.ledger}-wal").write_bytes(log[:cut])
        found.add(version(paths.ledger))
        whole(old, paths, facts)
    assert found == {2, schema.VERSION}
    put_back(paths, tmp_path / "killed")
    take_over(paths)
    written, page = Path(paths.ledger).read_bytes(), int.from_bytes(log[8:12], "big")
    for end in range(0, len(written) + 1, page):
        put_back(paths, tmp_path / "killed")
        before = Path(paths.ledger).read_bytes()
        Path(paths.ledger).write_bytes(written[:end] + before[end:])
        whole(old, paths, facts)


def test_a_disk_without_room_leaves_the_old_ledger(paths):
    """A migration that does not fit fails as a whole, and with room it succeeds."""
    put(paths, "busy-v2")
    facts = read_facts(paths)

    def no_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    def fails():
        with pytest.raises(LedgerFailed):
            Ledger.open(paths)

    assert not in_child(fails, no_room)
    assert version(paths.ledger) == 2
    assert read_facts(paths) == facts == take_over(paths)
