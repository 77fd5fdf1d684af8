# SPDX-License-Identifier: Apache-2.0
"""The ledger for a reader: what it says now, without its lock."""

import sqlite3
from contextlib import closing

import msgspec

from hamid.core.claims.claim import LedgerFacts
from hamid.node.ledger import files, rows
from hamid.node.paths import Paths
from hamid.node.system.boot import boot_id

_UNREADABLE = "the ledger '{path}' {why}: every instance counts as used"


def read_facts(paths: Paths) -> LedgerFacts:
    """The ledger's facts for a reader. Never raises: with an unreadable ledger, every instance counts as used."""
    try:
        state = files.state_of(paths.ledger)
        if state == "none":
            return LedgerFacts()
        if state == "lost":
            return _untrusted(paths, "was lost")
        with closing(files.connect_reader(paths.ledger)) as connection:
            # One consistent view of all tables while another process writes.
            connection.execute("BEGIN")
            return rows.facts(connection, boot_id(paths), rebuilt_warning(paths))
    except files.Unusable as error:
        return _untrusted(paths, f"is {error}")
    except OSError as error:
        return _untrusted(paths, f"cannot be read ({error.strerror})")
    except (sqlite3.Error, msgspec.MsgspecError, TypeError, ValueError) as error:
        return _untrusted(paths, f"cannot be read ({error})")


def rebuilt_warning(paths: Paths) -> str:
    """The warning about a rebuilt ledger, with {why} in it."""
    return _UNREADABLE.format(path=paths.ledger.replace("{", "{{").replace("}", "}}"), why="was rebuilt ({why})")


def _untrusted(paths: Paths, why: str) -> LedgerFacts:
    return LedgerFacts(trusted=False, warnings=(_UNREADABLE.format(path=paths.ledger, why=why),))
