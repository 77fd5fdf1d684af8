# SPDX-License-Identifier: Apache-2.0
from hamid.core.metrics.family import Family, Sample, gauge, one


def test_a_gauge_has_a_sample_for_each_set_of_labels():
    """The order of the samples stays, and a gauge without samples is a family all the same."""
    assert gauge("a", "text", [({"x": "1"}, 2.0), ({"x": "0"}, 3.0)]) == Family(
        "a", "gauge", "text", (Sample({"x": "1"}, 2.0), Sample({"x": "0"}, 3.0))
    )
    assert gauge("a", "text", []) == Family("a", "gauge", "text", ())


def test_a_single_value_may_have_labels():
    """It is a gauge with one sample."""
    assert one("a", "text", 1, version="v") == gauge("a", "text", [({"version": "v"}, 1)])
