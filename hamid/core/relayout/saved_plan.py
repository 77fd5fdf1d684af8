# SPDX-License-Identifier: Apache-2.0
"""A plan in a file: written by `mig apply --out`, applied by `mig apply FILE` if the node has not changed.

The file is untrusted input: it is decoded strictly, and the fingerprint decides whether it still applies.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from msgspec import Struct

from hamid.core.claims.claim import operator_name
from hamid.core.errors import UsageError
from hamid.core.planner.plan import SetMigMode, Step

# More than any index, profile id or slice.
_LARGEST: Final = 1023


class SavedSeat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instance that the plan's claim holds, by what identifies it."""

    gpu_uuid: str
    profile_id: int
    start: int


class SavedPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Steps for one snapshot, and the operator's claim that they serve (None: none)."""

    simulated: bool
    fingerprint: str
    claim: str | None
    claim_instances: tuple[SavedSeat, ...]
    steps: tuple[Step, ...]
    api_version: Literal["hami.io/v1"] = "hami.io/v1"
    kind: Literal["MigSavedPlan"] = "MigSavedPlan"


def encode_plan(plan: SavedPlan) -> bytes:
    """The file's content."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"


def decode_plan(content: bytes, path: str) -> SavedPlan:
    """The plan of a file; raises UsageError with the location of the error."""
    hint = "create one with: hamictl mig apply ... --out FILE"
    try:
        plan = msgspec.json.decode(content, type=SavedPlan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"'{path}' is not a saved plan: {error}", hint) from error
    problem = next(_problems(plan), "")
    if problem:
        raise UsageError(f"'{path}' is not a saved plan: {problem}", hint)
    return plan


def _problems(plan: SavedPlan) -> Iterator[str]:
    """Content that `--out` never writes."""
    for number, step in enumerate(plan.steps):
        placed = () if isinstance(step, SetMigMode) else (step.profile_id, step.placement.start, step.placement.size)
        if not all(0 <= each <= _LARGEST for each in (step.gpu_index, *placed)):
            yield f"a number is outside 0..{_LARGEST} - at `$.steps[{number}]`"
    for number, seat in enumerate(plan.claim_instances):
        if not (0 <= seat.profile_id <= _LARGEST and 0 <= seat.start <= _LARGEST):
            yield f"a number is outside 0..{_LARGEST} - at `$.claimInstances[{number}]`"
    yield from _claim_problems(plan)


def _claim_problems(plan: SavedPlan) -> Iterator[str]:
    if len(set(plan.claim_instances)) < len(plan.claim_instances):
        yield "an instance is claimed twice - at `$.claimInstances`"
    if (plan.claim is None) != (not plan.claim_instances):
        yield "a claim needs instances, and instances need a claim - at `$.claim`"
    if plan.claim is not None:
        try:
            operator_name(plan.claim)
        except UsageError as error:
            yield f"{error.message} - at `$.claim`"
