# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace

from hamid.core.library.selftest import Check, ClientReport, judge

GOOD = ClientReport(begun=(0, 0), owner="/usr/local/vgpu/libvgpu.so", over=2, within=0, freed=0, total=64, used=32)


def test_a_library_that_keeps_every_promise_passes():
    """All checks pass in the order in which they rest on each other, each with what was seen."""
    assert judge(GOOD, library="/elsewhere/libvgpu.so", region_made=True) == (
        Check(name="driver", passed=True, seen="cuInit and a context answered 0, 0"),
        Check(name="preload", passed=True, seen="cuMemAlloc is in '/usr/local/vgpu/libvgpu.so'"),
        Check(name="region", passed=True, seen="the shared region was made"),
        Check(name="limit", passed=True, seen="65 MiB answered 2, 32 MiB 0, their free 0"),
        Check(name="view", passed=True, seen="32 of 64 MiB used after 32 were taken"),
    )


@pytest.mark.parametrize(
    ("changed", "region_made", "failed"),
    [
        ({"begun": (0, 100)}, True, "driver"),
        ({"owner": "/usr/lib/libcuda.so.1"}, True, "preload"),
        ({}, False, "region"),
        ({"over": 0}, True, "limit"),
        ({"over": 1}, True, "limit"),
        ({"within": 2}, True, "limit"),
        ({"freed": 1}, True, "limit"),
        ({"total": 40960}, True, "view"),
        ({"used": 0}, True, "view"),
    ],
)
def test_one_broken_promise_fails_one_check(changed, region_made, failed):
    """Each thing that a client must see has a check of its own, and no other check fails with it."""
    found = judge(replace(GOOD, **changed), library="libvgpu.so", region_made=region_made)
    assert [check.name for check in found if not check.passed] == [failed]
