# SPDX-License-Identifier: Apache-2.0
"""What one reconciliation works with."""

from msgspec import Struct

from hamid.core.claims.checkpoint import RememberedList
from hamid.core.pods.pods import HoldingList, PodList

NOT_ASKED = RememberedList(complete=False)


class Round(Struct, frozen=True, kw_only=True):
    """The answers of one round, and the ids of the claims that were granted before anything was asked.

    An answer says nothing about a claim that was granted while it was on its way.
    """

    pods: PodList
    holdings: HoldingList
    remembered: RememberedList
    claims: frozenset[int]
