# SPDX-License-Identifier: Apache-2.0
"""Metrics as values in Prometheus' terms: families of samples."""

from collections.abc import Iterable, Mapping

from msgspec import Struct


class Sample(Struct, frozen=True):
    """One series: a suffix of the family's name, labels, value."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(Struct, frozen=True):
    """A metric with its samples; `kind` is gauge, counter or histogram."""

    name: str
    kind: str
    text: str
    samples: tuple[Sample, ...]


def gauge(name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    """A gauge with a value for each set of labels."""
    return Family(name, "gauge", text, tuple(Sample(labels, value) for labels, value in samples))


def one(name: str, text: str, value: float, **labels: str) -> Family:
    """A gauge with one value."""
    return gauge(name, text, [(labels, value)])
