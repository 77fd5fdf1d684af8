# SPDX-License-Identifier: Apache-2.0
"""Ledgers as tests need them: with operators' claims."""

from hamid.core.claims.journal import Goal


def add_claim(ledger, name, seats=()):
    """An operator's claim on these seats, as a change without any step makes it; its id."""
    run = ledger.begin_run((), goal=Goal.ALL, operator_name=name, claim_seats=[each.seat for each in seats])
    ledger.end_run(run, "done", seats=seats)
    return run


def release_claim(ledger, name):
    """The claim of that name ends, if there is one; what it held stays."""
    found = [claim.id for claim in ledger.facts().claims if claim.name == name]
    for claim in found:
        run = ledger.begin_ending(claim, {})
        ledger.end_run(run, "done", drops=claim)
