# SPDX-License-Identifier: Apache-2.0
import pytest

from hamid.core.errors import UsageError
from hamid.core.planner.request import MAX_DEVICES, MemoryMatch, Policy, make_request
from hamid.core.units import Memory


@pytest.mark.parametrize(
    "values",
    [
        {"count": 1},
        {"count": 0, "memory": Memory(mib=1)},
        {"count": MAX_DEVICES + 1, "memory": Memory(mib=1)},
        {"count": 1, "memory": Memory(mib=1), "cores_percent": 101},
        {"count": 1, "profile": "large"},
    ],
)
def test_a_request_that_makes_no_sense_is_never_made(values):
    """Nothing wanted, a count or cores out of range, or no profile's name: a UsageError."""
    with pytest.raises(UsageError):
        make_request(**values)


@pytest.mark.parametrize(
    ("policy", "match"), [(Policy.TEMPLATE, MemoryMatch.TEMPLATE), (Policy.PACKED, MemoryMatch.NVML)]
)
def test_the_policy_says_whose_memory_counts(policy, match):
    """Without a choice, templates count by their own figures and packed placement by NVML's."""
    assert make_request(count=1, profile="1g.5gb", policy=policy).memory_match is match
    other = next(each for each in MemoryMatch if each is not match)
    assert make_request(count=1, profile="1g.5gb", policy=policy, memory_match=other).memory_match is other
