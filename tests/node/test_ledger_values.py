# SPDX-License-Identifier: Apache-2.0
"""A ledger with a value that cannot be decoded is kept aside, and never ends a command with a traceback."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.ledgers import add_claim
from support.old_ledgers import put

from hamid.core.claims.claim import ClaimedSeat, InstanceKey
from hamid.node.ledger.ledger import Ledger
from hamid.node.ledger.reader import read_facts
from hamid.node.paths import Paths

SEAT = ClaimedSeat(seat=InstanceKey("GPU-a", 14, 2), profile="2g.10gb", size=2, made=True, mig_uuid="MIG-x")


@pytest.fixture
def filled(tmp_path):
    """A ledger with one claim, closed."""
    paths = Paths(str(tmp_path))
    with closing(Ledger.open(paths)) as ledger:
        add_claim(ledger, "job", [SEAT])
    return paths


def assert_kept_aside(paths):
    """The next writer keeps the file aside, and the ledger in its place says so."""
    with closing(Ledger.open(paths)) as ledger:
        assert not ledger.facts().trusted
    assert [path for path in Path(paths.state_dir).glob("ledger.db.*Z") if path.is_file()]


def change(paths, statement):
    with closing(sqlite3.connect(paths.ledger)) as connection:
        connection.execute(statement)
        connection.commit()


DAMAGE = [
    "UPDATE claims SET operator_name = NULL, owner = 5",
    "UPDATE claims SET operator_name = NULL, owner = x'7b'",
    "UPDATE claims SET operator_name = NULL, owner = '{}'",
    "UPDATE claims SET granted = x'7b', pending = 0",
    "UPDATE runs SET steps = 7, ended = NULL",
    "UPDATE runs SET claim_seats = '[1]', ended = NULL",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_value_of_another_type_is_damage(filled, damage):
    """A reader trusts nothing or what it can read; the next writer keeps the file aside and says so."""
    change(filled, damage)
    facts = read_facts(filled)
    assert not facts.trusted or [claim.name for claim in facts.claims] == ["job"]
    assert_kept_aside(filled)


def test_a_number_of_runs_that_overflows_is_damage(tmp_path):
    """A ledger of the release before has no room for another number: it is kept aside too."""
    paths = Paths(str(tmp_path))
    put(paths, "operator-v2")
    change(paths, "UPDATE sqlite_sequence SET seq = 9223372036854775807")
    assert not read_facts(paths).trusted
    assert_kept_aside(paths)
