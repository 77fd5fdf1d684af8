# SPDX-License-Identifier: Apache-2.0
"""Ledgers that earlier releases wrote, as `old_ledger.py` made them, in the place of a node's ledger."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from hamid.core.documents.claims import claims_document
from hamid.node.ledger import files
from hamid.node.system.boot import boot_id
from support import TESTS

DATA = TESTS / "node/data"
NAMES = sorted(path.stem for path in DATA.glob("*.sql"))


def put(paths, name):
    """The node has this ledger, written since its last boot."""
    Path(paths.state_dir).mkdir(parents=True, exist_ok=True)
    text = (DATA / f"{name}.sql").read_text().replace("BOOT-ID", boot_id(paths))
    with closing(sqlite3.connect(paths.ledger)) as ledger:
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.executescript(text)
    files.mark(paths.ledger)


def said(name):
    """What `hamictl alloc list` of that release said: the claims."""
    return json.loads((DATA / f"{name}.json").read_text())["claims"]


def says(name, facts):
    """What this release says of the same node."""
    indexes = {
        each["gpuUUID"]: each["gpuIndex"] for claim in said(name) for each in (*claim["instances"], *claim["shares"])
    }
    return claims_document(facts.claims, indexes, simulated=True)["claims"]
