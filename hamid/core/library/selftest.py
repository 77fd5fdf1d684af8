# SPDX-License-Identifier: Apache-2.0
"""Judges from a client's report whether libvgpu works."""

from typing import Final

from msgspec import Struct

LIMIT_MIB: Final = 64
_OUT_OF_MEMORY: Final = 2


class Check(Struct, frozen=True, kw_only=True):
    """One check: whether it passed, and what was observed."""

    name: str
    passed: bool
    seen: str


class ClientReport(Struct, frozen=True):
    """The client's report: the CUresult of each call, the library that has cuMemAlloc, and its memory in MiB."""

    begun: tuple[int, ...]
    owner: str
    over: int
    within: int
    freed: int
    total: int
    used: int


def judge(seen: ClientReport, *, library: str, region_made: bool) -> tuple[Check, ...]:
    """The checks, each after those that it depends on."""
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
