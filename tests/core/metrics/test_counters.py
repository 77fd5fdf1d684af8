# SPDX-License-Identifier: Apache-2.0
import re

from hamid.core.metrics.counters import COUNTED, SECONDS


def test_every_counted_metric_is_named_as_prometheus_wants():
    """A counter ends with `_total` and a histogram with its unit, each has a text, and labels are plain words."""
    for name, counted in COUNTED.items():
        assert name == counted.name
        assert name.startswith("hamid_")
        assert name.endswith("_duration_seconds" if counted.timed else "_total")
        assert counted.text
        assert all(re.fullmatch("[a-z]+", label) for label in counted.labels)


def test_buckets_grow():
    """Each bound is larger than the one before, up to the deadline of a driver call."""
    assert list(SECONDS) == sorted(set(SECONDS))
    assert SECONDS[-1] == 25.0
