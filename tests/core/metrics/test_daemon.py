# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import claim, owner

from hamid.core.metrics.counters import COUNTED, SECONDS, Tally
from hamid.core.metrics.daemon import DaemonFacts, own_families
from hamid.core.view import View

FACTS = DaemonFacts(
    now=1000.0,
    version="1.2",
    node="n",
    registered=True,
    registered_at=990.0,
    registrations=3,
    config_version=4,
    config_problem=True,
    config_waiting=2,
    library="v1",
)


def served(view=View(), facts=FACTS, tallies=()):  # noqa: B008
    return {each.name: each for each in own_families(view, tallies, facts)}


def value(found, name):
    (sample,) = found[name].samples
    return sample.value


def test_what_the_daemon_says_of_itself():
    """Each fact has a gauge or counter of its own, and texts are labels."""
    found = served(View(ready=True, problems=("a", "b"), observed_at=995.0))
    assert {name: value(found, name) for name in list(found)[:11]} == {
        "hami_build_info": 1,
        "hamid_ready": 1,
        "hamid_problems": 2,
        "hamid_snapshot_age_seconds": 5.0,
        "hamid_registered": 1,
        "hamid_registration_age_seconds": 10.0,
        "hamid_registrations": 3,
        "hamid_config_version": 4,
        "hamid_config_problem": 1,
        "hamid_config_waiting": 2,
        "hamid_library_installed": 1,
    }
    assert found["hami_build_info"].samples[0].labels == {"version": "1.2"}
    assert found["hamid_library_installed"].samples[0].labels == {"version": "v1"}
    assert (found["hamid_registrations"].kind, found["hamid_registrations"].samples[0].suffix) == ("counter", "_total")


@pytest.mark.parametrize(
    ("facts", "view", "name", "expected"),
    [
        (replace(FACTS, registered=False), View(), "hamid_registration_age_seconds", 0.0),
        (replace(FACTS, registered_at=2000.0), View(), "hamid_registration_age_seconds", 0.0),
        (replace(FACTS, library=""), View(), "hamid_library_installed", 0),
        (FACTS, View(), "hamid_snapshot_age_seconds", float("inf")),
        (FACTS, View(observed_at=2000.0), "hamid_snapshot_age_seconds", 0.0),
    ],
)
def test_an_age_is_never_negative_and_unknown_without_a_beginning(facts, view, name, expected):
    """A clock that was set back does not make an age negative."""
    assert value(served(view, facts), name) == expected


def test_claims_are_counted_by_what_is_known_of_them():
    """Every kind has a series, also with no claim."""
    view = View(
        claims=(
            claim(1),
            claim(2, by=owner()),
            claim(3, by=owner()),
            claim(4, by=owner(confirmed=False)),
        )
    )
    samples = served(view)["hamid_claims"].samples
    assert {each.labels["kind"]: each.value for each in samples} == {
        "operator": 1,
        "confirmed": 2,
        "provisional": 1,
        "pending": 0,
    }


def test_everything_that_is_counted_has_a_family():
    """Counters and histograms come from one table, with the labels that the table names."""
    buckets = tuple(min(number, 2) for number in range(len(SECONDS)))
    tallies = [
        Tally(name="hamid_allocate_total", labels=("mig", "granted"), count=5),
        Tally(name="hamid_observe_duration_seconds", labels=(), count=2, seconds=1.5, buckets=buckets),
    ]
    found = served(tallies=tallies)
    assert [name for name in found if name in {x.removesuffix("_total") for x in COUNTED}] == [
        name.removesuffix("_total") for name in COUNTED
    ]
    (counted,) = found["hamid_allocate"].samples
    assert (counted.labels, counted.value, counted.suffix) == ({"mode": "mig", "result": "granted"}, 5, "_total")
    timed = found["hamid_observe_duration_seconds"]
    assert timed.kind == "histogram"
    assert [(each.labels.get("le"), each.value, each.suffix) for each in timed.samples] == [
        *((str(bound), count, "_bucket") for bound, count in zip(SECONDS, buckets, strict=True)),
        ("+Inf", 2, "_bucket"),
        (None, 2, "_count"),
        (None, 1.5, "_sum"),
    ]
