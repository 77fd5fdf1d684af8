# SPDX-License-Identifier: Apache-2.0
"""A plan in a file: written by `mig apply --out`, carried out by `mig apply FILE` if the node is still as it was.

The file is input from outside: it is decoded strictly, and the fingerprint decides whether it still applies.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.steps import SetMigMode, Step


class ClaimSeat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instance that the plan's claim holds, by what identifies it."""

    gpu_uuid: str
    profile_id: int
    start: int


class SavedPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Steps for one snapshot, and the operator's claim that they serve (None: none)."""

    simulated: bool
    fingerprint: str
    claim: str | None
    claim_instances: tuple[ClaimSeat, ...]
    steps: tuple[Step, ...]
    api_version: Literal["hami.io/v1"] = "hami.io/v1"
    kind: Literal["MigSavedPlan"] = "MigSavedPlan"


def encode_plan(plan: SavedPlan) -> bytes:
    """The file's content."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"


def decode_plan(content: bytes, path: str) -> SavedPlan:
    """The plan of a file; raises UsageError that says where the content is wrong."""
    hint = "make one with: hamictl mig apply ... --out FILE"
    try:
        plan = msgspec.json.decode(content, type=SavedPlan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"'{path}' is no saved plan: {error}", hint) from error
    for number, step in enumerate(plan.steps):
        placed = () if isinstance(step, SetMigMode) else (step.profile_id, step.placement.start, step.placement.size)
        if min((step.gpu_index, *placed)) < 0:
            raise UsageError(f"'{path}' is no saved plan: a number is negative - at `$.steps[{number}]`", hint)
    return plan
