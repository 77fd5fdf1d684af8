# SPDX-License-Identifier: Apache-2.0
"""Which events make a GPU sick."""

import pytest
from msgspec.structs import replace

from hamid.core.hardware.health import IGNORED_XIDS, EventKind, HealthEvent, Sickness, rules


def xid(code, uuid="GPU-1"):
    return HealthEvent(gpu_uuid=uuid, kind=EventKind.XID, code=code)


@pytest.mark.parametrize(
    ("environment", "critical", "ignored"),
    [
        ({}, {48, 79, 94}, IGNORED_XIDS),
        ({"DP_DISABLE_HEALTHCHECKS": "79, 94"}, {48}, {*IGNORED_XIDS, 79, 94}),
        ({"DP_DISABLE_HEALTHCHECKS": "79", "DP_ENABLE_HEALTHCHECKS": "79,13"}, {79, 13}, IGNORED_XIDS - {13}),
        ({"DP_DISABLE_HEALTHCHECKS": "nonsense,9999999999"}, {79}, IGNORED_XIDS),
    ],
)
def test_xids_of_applications_do_not_count(environment, critical, ignored):
    """HAMi's list, changed by the variables of NVIDIA's plugin; what is enabled wins."""
    found = rules(environment)
    assert all(found.is_critical(xid(each)) for each in critical)
    assert not any(found.is_critical(xid(each)) for each in ignored)


@pytest.mark.parametrize("word", ["all", "ALL", "xids"])
def test_watching_can_be_switched_off(word):
    """By configuration or by the variable."""
    assert not rules({"DP_DISABLE_HEALTHCHECKS": word}).enabled
    assert not rules({}, health_checks=False).enabled
    assert rules({}).enabled


def test_a_double_bit_error_always_counts():
    """Its number is no Xid that could be ignored."""
    event = HealthEvent(gpu_uuid="GPU-1", kind=EventKind.DOUBLE_BIT_ECC, code=13)
    assert rules({}).is_critical(event)


def test_a_quiet_gpu_recovers_and_a_new_event_begins_the_time_anew():
    """After the configured time without events; never with 0."""
    after = rules({}, recovery_seconds=100)
    sick = Sickness().after("GPU-1", xid(79), 0.0).after("GPU-2", xid(79), 50.0).after("GPU-1", xid(48), 60.0)
    assert sick.recovered(after, 149.0) == ()
    assert sick.recovered(after, 150.0) == ("GPU-2",)
    assert sick.recovered(after, 160.0) == ("GPU-1", "GPU-2")
    assert sick.without(("GPU-2",)).recovered(after, 160.0) == ("GPU-1",)
    assert sick.recovered(replace(after, recovery_seconds=0.0), 1e9) == ()
