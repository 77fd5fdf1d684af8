# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hamid.core.config.config import SETTINGS, Config, Mode, PodsSource
from hamid.core.config.difference import (
    compare,
    compare_plain,
    document,
    plain,
    templates_mark,
    within_reach,
)
from hamid.core.config.setting import TakesEffect
from hamid.core.planner.templates import ModelTemplates, TemplateTable

OTHER_TABLE = TemplateTable(entries=(ModelTemplates(("A30",), ()),), aliases={}, source="/t.yaml")
CHANGES: dict[str, object] = {
    "split_count": 3,
    "mode": Mode.MIG,
    "gpu_modes": {"0": Mode.MIG},
    "filter_uuids": ("GPU-a",),
    "pods_source": PodsSource.FILE,
    "memory_scaling": 1.5,
}
CONFIGS = st.sets(st.sampled_from(sorted(CHANGES))).map(
    lambda names: replace(Config(), **{name: CHANGES[name] for name in names})
)
EFFECTS = {each.name: each.change for each in SETTINGS}


@given(CONFIGS, CONFIGS)
def test_a_comparison_has_exactly_what_differs(before, after):
    """Of values and of a document alike: each changed setting once, in the table's order, with what it needs."""
    names = [each.name for each in SETTINGS if getattr(before, each.name) != getattr(after, each.name)]
    found = compare(before, after)
    assert [(each.name, each.before, each.after, each.change) for each in found] == [
        (name, getattr(before, name), getattr(after, name), EFFECTS[name]) for name in names
    ]
    assert compare_plain(document(before), after) == [
        (name, plain(getattr(before, name)), plain(getattr(after, name)), EFFECTS[name]) for name in names
    ]


def test_another_table_of_templates_is_a_difference():
    """It is told by where each table comes from, and is in force at once."""
    (found,) = compare(Config(), Config(templates=OTHER_TABLE))
    assert (found.name, found.before, found.after, found.change) == (
        "templates",
        "no templates",
        "/t.yaml",
        TakesEffect.NOW,
    )


def test_a_setting_that_a_document_lacks_counts_as_changed():
    """A hamid of an older version wrote no such setting down."""
    old = {name: value for name, value in document(Config()).items() if name != "split_count"}
    assert compare_plain(old, Config()) == [("split_count", None, 10, TakesEffect.NOW)]


@given(CONFIGS, CONFIGS)
def test_a_reload_puts_everything_in_force_but_what_needs_a_restart(running, wanted):
    """Afterwards every setting has its wanted value, or its running one where only a new start changes it."""
    reached = within_reach(running, wanted)
    for each in SETTINGS:
        source = running if each.change is TakesEffect.RESTART else wanted
        assert getattr(reached, each.name) == getattr(source, each.name)


@given(CONFIGS)
def test_a_document_has_every_setting_in_jsons_types(config):
    """JSON takes the document as it is and gives it back unchanged."""
    found = document(config)
    assert list(found) == [each.name for each in SETTINGS]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Mode.MIG, "mig"),
        ((Mode.MIG, 1), ["mig", 1]),
        ({0: (Mode.MPS,)}, {"0": ["mps"]}),
        (
            TemplateTable(entries=(), aliases={}, source="s"),
            {"entries": [], "aliases": {}, "source": "s", "configured": False},
        ),
    ],
)
def test_values_become_plain(value, expected):
    """Words, tuples, mappings and structs become texts, lists and mappings, at any depth."""
    assert plain(value) == expected


def test_tables_with_the_same_content_have_the_same_mark():
    """The mark names the source and changes with the entries, not with how often they are read."""
    mark = templates_mark(Config(templates=OTHER_TABLE))
    assert mark == templates_mark(Config(templates=replace(OTHER_TABLE)))
    assert mark.startswith("/t.yaml (")
    assert mark != templates_mark(Config(templates=replace(OTHER_TABLE, entries=())))
    assert mark != templates_mark(Config(templates=replace(OTHER_TABLE, aliases={"A30": ("A30X",)})))
