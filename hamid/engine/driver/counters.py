# SPDX-License-Identifier: Apache-2.0
"""Counts and times of what hamid does, gathered from every thread, read whole by a scrape."""

import threading
from bisect import bisect_left
from itertools import accumulate

from hamid.core.metrics.counters import COUNTED, MAX_SERIES, OTHER, SECONDS, Counted, Tally


class _Times:
    """How often and how long; `slots` counts what fell into each bucket and above the last."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.slots = [0] * (len(SECONDS) + 1)


class Counters:
    """The metric families of core.counted. Thread-safe; memory is bounded for any labels.

    An unknown name or label is a bug in the caller: KeyError or ValueError.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._series: dict[str, dict[tuple[str, ...], _Times]] = {name: {} for name in COUNTED}

    def add(self, name: str, **labels: str) -> None:
        """One more of `name`."""
        if COUNTED[name].timed:
            raise ValueError(f"{name} is timed: observe it")
        with self._guard:
            self._at(COUNTED[name], labels).count += 1

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """One that took `seconds`."""
        if not COUNTED[name].timed:
            raise ValueError(f"{name} is not timed: add it")
        with self._guard:
            times = self._at(COUNTED[name], labels)
            times.count += 1
            times.seconds += seconds
            times.slots[bisect_left(SECONDS, seconds)] += 1

    def collect(self) -> tuple[Tally, ...]:
        """Every series of one moment, in the order of the table and of labels."""
        with self._guard:
            return tuple(
                _tally(COUNTED[name], labels, times)
                for name, series in self._series.items()
                for labels, times in sorted(series.items())
            )

    def _at(self, counted: Counted, labels: dict[str, str]) -> _Times:
        if labels.keys() != set(counted.labels):
            raise ValueError(f"{counted.name} has the labels {counted.labels}, not {tuple(labels)}")
        values = tuple(labels[label] for label in counted.labels)
        series = self._series[counted.name]
        if values not in series and len(series) >= MAX_SERIES:
            values = (OTHER,) * len(values)
            folded = self._series["hamid_series_folded_total"]
            folded.setdefault((counted.name,), _Times()).count += 1
        return series.setdefault(values, _Times())


def _tally(counted: Counted, labels: tuple[str, ...], times: _Times) -> Tally:
    if not counted.timed:
        return Tally(name=counted.name, labels=labels, count=times.count)
    cumulative = tuple(accumulate(times.slots[:-1]))
    return Tally(name=counted.name, labels=labels, count=times.count, seconds=times.seconds, buckets=cumulative)
