# SPDX-License-Identifier: Apache-2.0
import pytest
from support.schemas import checked

from hamid.core.config.config import SETTINGS, Config, Mode
from hamid.core.config.difference import document
from hamid.core.config.parse import Origin, Parsed
from hamid.core.documents.config import check_document, difference_document, settings_document
from hamid.core.located import Problem
from hamid.core.planner.templates import TemplateTable

PARSED = Parsed(
    config=Config(mode=Mode.MIG, templates=TemplateTable(entries=(), aliases={}, source="built in")),
    origins={"mode": Origin("/etc/hami/hamid.yaml", 3)},
    notes=("a\nnote",),
)


def test_settings_are_told_with_their_origin():
    """Those that are asked for, in the table's order, and each default beside the value."""
    found = checked(settings_document(PARSED, ["/etc/hami/hamid.yaml"], ["split_count", "mode"]))
    texts = {each.name: each.text for each in SETTINGS}
    assert found == {
        "apiVersion": "hami.io/v1",
        "kind": "Configuration",
        "files": ["/etc/hami/hamid.yaml"],
        "settings": [
            {
                "name": "mode",
                "value": "mig",
                "default": "hami-core",
                "origin": "/etc/hami/hamid.yaml:3",
                "change": "idle GPU",
                "text": texts["mode"],
            },
            {
                "name": "split_count",
                "value": 10,
                "default": 10,
                "origin": "default",
                "change": "now",
                "text": texts["split_count"],
            },
        ],
        "templates": "built in",
        "notes": ["a\\nnote"],
    }


def test_without_names_every_setting_is_told():
    """The values are those of the configuration, as it would be written down."""
    found = settings_document(PARSED, [])
    assert {each["name"]: each["value"] for each in found["settings"]} == document(PARSED.config)
    checked(found)


@pytest.mark.parametrize("problems", [[], [Problem("/f", 3, "k\x1b", "is\nodd", "an even\tone")]])
def test_a_check_is_valid_without_problems(problems):
    """A problem is told with its place, and without control characters."""
    assert checked(check_document(problems, ["/f"], ["a\nnote"])) == {
        "apiVersion": "hami.io/v1",
        "kind": "ConfigCheck",
        "valid": not problems,
        "files": ["/f"],
        "problems": [
            {"path": "/f", "line": 3, "key": "k\\x1b", "message": "is\\nodd", "hint": "an even\\tone"} for _ in problems
        ],
        "notes": ["a\\nnote"],
    }


@pytest.mark.parametrize(
    ("marks", "more"),
    [
        (("a (1)", "a (1)"), []),
        (("a (1)", "b (2)"), [{"name": "templates", "running": "a (1)", "files": "b (2)", "needs": "now"}]),
    ],
)
def test_a_difference_says_what_each_change_needs(marks, more):
    """The running value, the one of the files, and what it takes; another table of templates is a change too."""
    found = difference_document(document(Config()), Config(mode=Mode.MIG), marks, pid=7, version=2, problem="p")
    assert checked(found) == {
        "apiVersion": "hami.io/v1",
        "kind": "ConfigDifference",
        "pid": 7,
        "version": 2,
        "problem": "p",
        "changes": [{"name": "mode", "running": "hami-core", "files": "mig", "needs": "idle GPU"}, *more],
    }
