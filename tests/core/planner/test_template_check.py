# SPDX-License-Identifier: Apache-2.0
import pytest

from hamid.core.located import ConfigError, Located
from hamid.core.planner.hami_templates import parse_geometries
from hamid.core.planner.template_check import fit_table
from hamid.core.planner.templates import ModelTemplates, TemplateTable
from hamid.node.config.files import builtin_templates
from hamid.testing.boards import gpu_of, known_boards


def marked(value, line=1):
    if isinstance(value, dict):
        return Located({key: marked(each) for key, each in value.items()}, line)
    if isinstance(value, list):
        return Located(tuple(marked(each) for each in value), line)
    return Located(value, line)


def slot(name, count, memory=1000):
    return {"name": name, "count": count, "memory": memory}


def table(geometries, model="A100-SXM4-40GB"):
    document = {"knownMigGeometries": [{"models": [model], "allowedGeometries": geometries}]}
    return TemplateTable(parse_geometries(marked(document), "f.yaml"), {}, "f.yaml", configured=True)


def fitted(geometries, board="A100-40GB", **options):
    return fit_table(table(geometries, **options), [gpu_of(board)])


def test_a_flat_list_is_grouped_by_what_still_fits_the_board():
    """The list that HAMi's articles print: 1g*7 fills the GPU, 2g*3 takes 1g*1 beside it, halves and whole follow."""
    flat = [slot("1g.5gb", 7), slot("2g.10gb", 3), slot("1g.5gb", 1), slot("3g.20gb", 2), slot("7g.40gb", 1)]
    found = fitted(flat)
    groups = [template.geometry for template in found.table.entries[0].templates]
    assert groups == [{"1g.5gb": 7}, {"2g.10gb": 3, "1g.5gb": 1}, {"3g.20gb": 2}, {"7g.40gb": 1}]
    assert "2g.10gb*3 + 1g.5gb*1" in found.warnings[0]


@pytest.mark.parametrize(
    ("geometries", "said"),
    [
        ([[slot("2g.10gb", 4)]], "cannot hold 2g.10gb*4"),
        ([[slot("4g.20gb", 1), slot("2g.10gb", 2)]], "cannot hold"),
        ([[slot("1g.6gb", 1)]], "no profile 1g.6gb"),
        ([slot("2g.10gb", 4)], "cannot hold"),
    ],
)
def test_what_the_board_cannot_hold_is_a_problem_with_line_and_legal_values(geometries, said):
    """An impossible template or a stranger among profiles is refused for the GPUs that it is for."""
    with pytest.raises(ConfigError) as caught:
        fitted(geometries)
    assert said in caught.value.message
    assert caught.value.message.startswith("f.yaml:1: ")
    assert "1g.5gb" in caught.value.message


def test_templates_of_absent_models_are_left_alone():
    """A file may serve other nodes too: only entries for GPUs that are here are held against a board."""
    assert fitted([[slot("9g.99gb", 9)]], model="H200").warnings == ()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "is missing"),
        ([], "is missing"),
        ({"nvidia": {"knownMigGeometries": 3}}, "not a list"),
        ({"knownMigGeometries": []}, "empty list"),
        ({"knownMigGeometries": [3]}, "not a mapping"),
        ({"knownMigGeometries": [{"models": ["A30"]}]}, "allowedGeometries: is missing"),
        ({"knownMigGeometries": [{"models": "A30", "allowedGeometries": [[slot("1g.6gb", 1)]]}]}, "models: is text"),
        ({"knownMigGeometries": [{"models": [" "], "allowedGeometries": [[slot("1g.6gb", 1)]]}]}, "is empty"),
        ({"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[]]}]}, "empty list"),
        ({"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("1g.6gb", -1)]]}]}, "is -1"),
        ({"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("1g.6gb", 10**30)]]}]}, "count"),
        ({"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("1g.6gb", True)]]}]}, "true or false"),
        ({"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("1g.6gb", 1.5)]]}]}, "not a number"),
        ({"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("big", 1)]]}]}, "not a profile name"),
        ({"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("1g.6gb", 1)] * 2]}]}, "twice"),
        (
            {"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("1g.6gb", 1), {"colour": 1}]]}]},
            "colour: unknown key",
        ),
        (
            {
                "knownMigGeometries": [
                    {"models": ["A30"], "allowedGeometries": [[slot("1g.6gb", 1)], slot("1g.6gb", 1)]}
                ]
            },
            "not a list",
        ),
    ],
)
def test_every_malformed_document_is_refused_with_its_key(document, said):
    """Wrong types, missing and unknown keys, negative and huge numbers: all become problems, none a crash."""
    with pytest.raises(ConfigError) as caught:
        parse_geometries(marked(document), "f.yaml")
    assert said in caught.value.message


def test_all_problems_are_told_at_once():
    """One check reports every problem of a file."""
    document = {"knownMigGeometries": [{"models": ["A30"], "allowedGeometries": [[slot("x", 0), slot("y", -1)]]}]}
    with pytest.raises(ConfigError) as caught:
        parse_geometries(marked(document), "f.yaml")
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("name", "warned"),
    [("NVIDIA A30", False), ("NVIDIA H200 NVL", True), ("NVIDIA H100 80GB HBM3", True), ("NVIDIA GB200", True)],
)
def test_where_hami_would_choose_otherwise_a_warning_says_so(name, warned):
    """HAMi looks for substrings: H20 in H200, B200 in GB200, nothing for the H100 SXM."""
    gpu = gpu_of("A30-24GB")
    renamed = type(gpu)(**{**{f: getattr(gpu, f) for f in gpu.__struct_fields__}, "name": name})
    assert bool(fit_table(builtin_templates(), [renamed]).warnings) == warned


@pytest.mark.parametrize("board", known_boards())
def test_the_shipped_templates_fit_every_board_that_has_their_profiles(board):
    """No shipped template is impossible on the board that it is for, as far as the board's numbers are known."""
    gpu = gpu_of(board)
    names = {profile.name for profile in gpu.profiles}
    entry = builtin_templates().lookup(gpu.name)
    if entry is None:
        return
    for template in entry.templates:
        if template.geometry.keys() <= names:
            one = TemplateTable((ModelTemplates(entry.models, (template,)),), builtin_templates().aliases, "x", True)
            fit_table(one, [gpu])
