# SPDX-License-Identifier: Apache-2.0
"""What a writer has read of its ledger. It alone writes, so that what it read stays true until it writes.

A node with a hundred claims is asked for them eight times in one Allocate, and changes one of them.
"""

import sqlite3

from hamid.core.claims.claim import Claim, LedgerFacts, OwnInstance
from hamid.node.ledger import rows

# So many are read faster all together, and SQLite takes no unlimited number of them in one statement.
_MANY = 64


class FactsCache:
    """Facts, and what of them must be read again: everything at first."""

    def __init__(self) -> None:
        self._facts: LedgerFacts | None = None
        self._claims: dict[int, Claim] = {}
        self._own: tuple[OwnInstance, ...] | None = None
        self._stale: set[int] | None = None

    def touch_all(self) -> None:
        """Anything may be another."""
        self._facts = self._own = self._stale = None

    def touch(self, *claims: int, own: bool = False) -> None:
        """These claims may be others, or be there no more; with `own` our instances too."""
        self._facts = None
        if own:
            self._own = None
        if self._stale is not None:
            self._stale.update(claims)
            if len(self._stale) > _MANY:
                self._stale = None

    def read(self, connection: sqlite3.Connection, boot: str, rebuilt: str) -> LedgerFacts:
        """`rows.facts`, read from the cache as far as possible."""
        if self._facts is not None:
            return self._facts
        if self._stale is None:
            self._claims = rows.claims(connection)
        elif self._stale:
            kept = {each: claim for each, claim in self._claims.items() if each not in self._stale}
            self._claims = kept | rows.claims(connection, self._stale)
        if self._own is None:
            self._own = rows.instances(connection)
        self._facts = rows.facts_with(connection, boot, rebuilt, claims=self._claims, own=self._own)
        self._stale = set()
        return self._facts
