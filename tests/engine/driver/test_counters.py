# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import pytest

from hamid.core.metrics.counters import COUNTED, MAX_SERIES, SECONDS
from hamid.engine.driver.counters import Counters


def test_nothing_is_lost_between_threads():
    """Eight threads that count and time the same series at once lose no count and no second."""
    counters = Counters()

    def work(_):
        for _ in range(500):
            counters.add("hamid_undo_total", result="ok")
            counters.observe("hamid_allocate_duration_seconds", 0.5, mode="mig")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    count, times = sorted(counters.collect(), key=lambda each: each.name, reverse=True)
    assert (count.name, count.labels, count.count) == ("hamid_undo_total", ("ok",), 4000)
    assert (times.count, times.seconds) == (4000, 2000.0)


def test_buckets_are_cumulative_and_include_their_bound():
    """A time that equals a bound counts in that bucket and all above; one above every bound in none of them."""
    counters = Counters()
    for seconds in (0.001, 0.3, 99.0):
        counters.observe("hamid_reconcile_duration_seconds", seconds)
    (tally,) = counters.collect()
    expected = tuple((bound >= 0.001) + (bound >= 0.3) for bound in SECONDS)
    assert tally.buckets == expected
    assert tally.count == 3


def test_labels_without_end_are_folded():
    """Ten thousand different labels make no more than MAX_SERIES and one series, and the folding is counted."""
    counters = Counters()
    for number in range(10_000):
        counters.add("hamid_observe_errors_total", error=str(number))
    tallies = counters.collect()
    errors = [each for each in tallies if each.name == "hamid_observe_errors_total"]
    folded = [each for each in tallies if each.name == "hamid_series_folded_total"]
    assert len(errors) == MAX_SERIES + 1
    assert sum(each.count for each in errors) == 10_000
    assert [(each.labels, each.count) for each in folded] == [(("hamid_observe_errors_total",), 10_000 - MAX_SERIES)]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda counters: counters.add("hamid_unheard_of_total"), KeyError),
        (lambda counters: counters.add("hamid_undo_total"), ValueError),
        (lambda counters: counters.add("hamid_undo_total", result="ok", pod="a"), ValueError),
        (lambda counters: counters.add("hamid_reconcile_duration_seconds"), ValueError),
        (lambda counters: counters.observe("hamid_undo_total", 1.0, result="ok"), ValueError),
    ],
)
def test_what_the_table_lacks_is_a_bug(call, error):
    """Unknown names, wrong labels and the wrong verb are refused at once and leave no series."""
    counters = Counters()
    with pytest.raises(error):
        call(counters)
    assert counters.collect() == ()


def test_names_follow_the_conventions():
    """Counters end in _total, times in _seconds, and all begin with hamid_."""
    for name, counted in COUNTED.items():
        assert name.startswith("hamid_")
        assert name.endswith("_seconds" if counted.timed else "_total")
        assert counted.text[0].isupper()
