# SPDX-License-Identifier: Apache-2.0
"""The table of hamid's counters and timers; metrics, their help and docs/metrics.md are generated from it."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

# From a lookup in memory to a driver call that takes its whole deadline.
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)


class Counted(Struct, frozen=True, kw_only=True):
    """A counter, or with `timed` a histogram of seconds. `labels` are the labels of its samples."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    timed: bool = False


_TABLE: Final = (
    Counted(
        name="hamid_allocate_total",
        text="Allocate calls by mode and result: granted, a refusal's code, or the name of an error",
        labels=("mode", "result"),
    ),
    Counted(
        name="hamid_allocate_duration_seconds",
        text="Time from an Allocate call to its answer",
        labels=("mode",),
        timed=True,
    ),
    Counted(
        name="hamid_prestart_total",
        text="PreStartContainer calls by result: ok, restored, a refusal's code, or the name of an error",
        labels=("result",),
    ),
    Counted(
        name="hamid_prestart_duration_seconds", text="Time from a PreStartContainer call to its answer", timed=True
    ),
    Counted(
        name="hamid_instance_changes_total",
        text="MIG instances created and destroyed, by result: ok, or the name of an error",
        labels=("operation", "result"),
    ),
    Counted(
        name="hamid_instance_change_duration_seconds",
        text="Time that the driver took to create or destroy an instance",
        labels=("operation",),
        timed=True,
    ),
    Counted(name="hamid_undo_total", text="Grants that were undone, by result", labels=("result",)),
    Counted(
        name="hamid_releases_total",
        text="Released claims of pods, by reason: terminal, deleted, absent, rolled-back",
        labels=("why",),
    ),
    Counted(name="hamid_reconcile_duration_seconds", text="Duration of one reconciliation of all claims", timed=True),
    Counted(
        name="hamid_reconcile_errors_total",
        text="Reconciliations that failed, by the error's name",
        labels=("error",),
    ),
    Counted(name="hamid_observe_duration_seconds", text="Duration of one observation of the whole node", timed=True),
    Counted(
        name="hamid_observe_errors_total",
        text="Observations of the node that failed, by the error's name",
        labels=("error",),
    ),
    Counted(
        name="hamid_config_reloads_total",
        text="Reloads of the configuration by result: applied, unchanged, refused",
        labels=("result",),
    ),
    Counted(
        name="hamid_health_events_total",
        text="NVML health events by kind: critical, ignored, recovered",
        labels=("kind",),
    ),
    Counted(
        name="hamid_series_folded_total",
        text="Samples whose labels were replaced by 'other' because a metric had too many series",
        labels=("metric",),
    ),
)

COUNTED: Final[Mapping[str, Counted]] = {each.name: each for each in _TABLE}
# Far above what modes, codes and errors can make; a bug that puts a pod's name in a label stays harmless.
MAX_SERIES: Final = 100
OTHER: Final = "other"


class Tally(Struct, frozen=True, kw_only=True):
    """One series: its count; if timed, also the sum of seconds and the cumulative count up to each of SECONDS."""

    name: str
    labels: tuple[str, ...]
    count: int
    seconds: float = 0.0
    buckets: tuple[int, ...] = ()
