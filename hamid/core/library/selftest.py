# SPDX-License-Identifier: Apache-2.0
"""What a client under libvgpu must see, judged from what it saw."""

from typing import Final

from msgspec import Struct

LIMIT_MIB: Final = 64
_OUT_OF_MEMORY: Final = 2


class Check(Struct, frozen=True, kw_only=True):
    """One promise: whether it held, and what was seen."""

    name: str
    passed: bool
    seen: str


class ClientReport(Struct, frozen=True):
    """What the client saw: the CUresult of each call, where cuMemAlloc lies, and the memory in MiB that it got."""

    begun: tuple[int, ...]
    owner: str
    over: int
    within: int
    freed: int
    total: int
    used: int


def judge(seen: ClientReport, *, library: str, region_made: bool) -> tuple[Check, ...]:
    """The checks in the order in which one rests on the other."""
    codes = ", ".join(map(str, seen.begun))
    answers = f"{LIMIT_MIB + 1} MiB answered {seen.over}, {LIMIT_MIB // 2} MiB {seen.within}"
    info = f"{seen.used} of {seen.total} MiB used after {LIMIT_MIB // 2} were taken"
    return (
        Check(name="driver", passed=not any(seen.begun), seen=f"cuInit and a context answered {codes}"),
        Check(
            name="preload",
            passed=seen.owner.rpartition("/")[2] == library.rpartition("/")[2],
            seen=f"cuMemAlloc is in '{seen.owner}'",
        ),
        Check(
            name="region", passed=region_made, seen="the shared region was " + ("made" if region_made else "not made")
        ),
        Check(
            name="limit",
            passed=seen.over == _OUT_OF_MEMORY and seen.within == 0 and seen.freed == 0,
            seen=f"{answers}, their free {seen.freed}",
        ),
        Check(name="view", passed=(seen.total, seen.used) == (LIMIT_MIB, LIMIT_MIB // 2), seen=info),
    )
