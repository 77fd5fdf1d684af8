# SPDX-License-Identifier: Apache-2.0
"""What is asked of the planner."""

from enum import StrEnum

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.geometry import MAX_COUNT
from hamid.core.units import Memory, parse_memory


class Policy(StrEnum):
    """How profiles are chosen: from whole-GPU templates, as HAMi does."""

    TEMPLATE = "template"


class Request(Struct, frozen=True, kw_only=True):
    """`count` instances of at least `memory` each.

    `gpus` are selectors (none: every GPU), `enable_mig` allows to switch MIG on, `reclaim_idle` allows to destroy
    idle instances that somebody else made.
    """

    count: int
    memory: Memory
    policy: Policy = Policy.TEMPLATE
    gpus: tuple[str, ...] = ()
    enable_mig: bool = True
    reclaim_idle: bool = False


def parse_count(value: int) -> int:
    """A count of instances in 1..64; raises UsageError."""
    if not 1 <= value <= MAX_COUNT:
        raise UsageError(f"count {value} is outside 1..{MAX_COUNT}")
    return value


def make_request(
    *,
    count: int,
    memory: str,
    gpus: tuple[str, ...] = (),
    enable_mig: bool = True,
    reclaim_idle: bool = False,
) -> Request:
    """A Request from what a person typed; raises UsageError that says what is wrong."""
    return Request(
        count=parse_count(count),
        memory=parse_memory(memory),
        gpus=gpus,
        enable_mig=enable_mig,
        reclaim_idle=reclaim_idle,
    )
