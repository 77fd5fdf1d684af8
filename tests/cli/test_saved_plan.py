# SPDX-License-Identifier: Apache-2.0
"""A saved plan is input from outside: no content leaves a half-done change or an undocumented exit code."""

import copy
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.exits import Exit

# Numbers and texts that break what takes them for granted.
POISON: st.SearchStrategy[object] = st.one_of(
    st.sampled_from([-1, 0, 7, 2**31, 2**32, 2**63, 2**64, 10**30, 1.5, True, None, "", "x", "\0", "\n", [], {}]),
    st.text(max_size=20),
)


class Node:
    """A node with MIG on, and what lies there."""

    def __init__(self, hamictl, state):
        self.hamictl, self.state = hamictl, state
        assert self.run("mig", "enable", "-i", "0", "--yes").exit_code == 0

    def run(self, *words):
        return self.hamictl.run("--sim", self.state, *words)

    def layout(self):
        found = self.hamictl.document("--sim", self.state, "mig", "list")["instances"]
        return sorted((each["profile"], each["start"]) for each in found)

    def claims(self):
        return {
            each["claim"]
            for each in self.hamictl.document("--sim", self.state, "mig", "list")["instances"]
            if each.get("claim")
        }


@pytest.fixture
def a30(hamictl, node):
    return Node(hamictl, node("1xA30"))


@pytest.fixture
def saved(a30, tmp_path):
    """A good plan of two instances with a claim, as a document."""
    path = tmp_path / "plan.json"
    assert a30.run("mig", "apply", "--mem", "6000", "--count", "2", "--name", "job", "--out", path).exit_code == 0
    return json.loads(path.read_text())


def leaves(value, path=()):
    """The path of every value in a document, containers included."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield from leaves(each, (*path, key))


def with_value(document, path, value):
    """A copy with another value at a path."""
    if not path:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a saved plan"),
        (b"{", "not a saved plan"),
        (b"\xff\xfe", "not a saved plan"),
        (b"[" * 100_000, "not a saved plan"),
        (b"null", "not a saved plan"),
        (b'{"apiVersion": "hami.io/v2", "kind": "MigSavedPlan"}', "$.apiVersion"),
        (b'{"apiVersion": "hami.io/v1", "kind": "MigChange"}', "$.kind"),
        (b"version: v1\nmig-configs: {}\n", "not a saved plan"),
    ],
)
def test_a_file_that_is_no_plan_is_exit_code_2(a30, tmp_path, content, says):
    """The error names the file, where it is wrong, and how to make a plan; nothing has changed."""
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    result = a30.run("mig", "apply", path, "--yes")
    assert result.exit_code == Exit.USAGE
    assert str(path) in result.stderr
    assert says in result.stderr
    assert "--out" in result.stderr
    assert a30.layout() == []


def test_an_unknown_field_is_named(a30, saved, tmp_path):
    """A plan of another release is not half understood."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**saved, "priority": 1}))
    result = a30.run("mig", "apply", path, "--yes")
    assert result.exit_code == Exit.USAGE
    assert "priority" in result.stderr
    assert a30.layout() == []


def test_a_huge_file_is_refused_unread(a30, tmp_path):
    """Memory stays bounded for a file of any content."""
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(1 << 34)
    result = a30.run("mig", "apply", path, "--yes")
    assert result.exit_code == Exit.USAGE
    assert str(path) in result.stderr


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing"])
def test_what_is_no_file_is_refused(a30, tmp_path, kind):
    """A directory, a pipe without a writer, a missing file: exit code 2 at once."""
    path = tmp_path / "plan.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    result = a30.run("mig", "apply", path, "--yes")
    assert result.exit_code == Exit.USAGE
    assert str(path) in result.stderr


def test_a_plan_of_another_node_is_stale(hamictl, node, saved, tmp_path):
    """Exit code 7, and nothing has changed on the node that it is not for."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(saved))
    other = Node(hamictl, node("2xA30"))
    result = other.run("mig", "apply", path, "--yes")
    assert result.exit_code == Exit.REFUSED
    assert other.layout() == []


def test_a_plan_cannot_take_what_a_claim_holds(a30, saved, tmp_path):
    """Steps written by hand with the node's true fingerprint never destroy a held instance."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(saved))
    assert a30.run("mig", "apply", path, "--yes").exit_code == 0
    held = a30.layout()
    fresh = tmp_path / "fresh.json"
    assert a30.run("mig", "apply", "--mem", "6000", "--name", "other", "--out", fresh).exit_code == 0
    document = json.loads(fresh.read_text())
    step = next(each for each in saved["steps"] if each["type"] == "CreateInstance")
    document["steps"] = [{**step, "type": "DestroyInstance", "mig_uuid": None}]
    document["claim"], document["claimInstances"] = None, []
    path.write_text(json.dumps(document))
    result = a30.run("mig", "apply", path, "--yes")
    assert result.exit_code == Exit.REFUSED
    assert "job" in result.stderr
    assert a30.layout() == held


def test_a_claim_that_names_an_instance_twice_is_refused(a30, saved, tmp_path):
    """Refused before anything begins: the claim could not be kept at the end or by a recovery."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**saved, "claimInstances": [saved["claimInstances"][0]] * 2}))
    result = a30.run("mig", "apply", path, "--yes")
    assert result.exit_code == Exit.USAGE
    assert "claimed twice" in result.stderr
    assert a30.layout() == []
    assert a30.run("mig", "repair", "--dry-run").stdout == "the ledger and the node agree\n"


@given(data=st.data())
def test_any_change_of_a_plan_is_all_or_nothing(a30, saved, tmp_path, data):
    """One value poisoned anywhere: a documented exit code, and the node is as before or as the whole plan says."""
    places = sorted(leaves(saved), key=str)
    document = with_value(saved, data.draw(st.sampled_from(places)), data.draw(POISON))
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    result = a30.run("mig", "apply", path, "--yes")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in list(Exit)
    left = a30.layout()
    for name in a30.claims():
        assert a30.run("mig", "release", "--name", name, "--yes").exit_code == Exit.OK
    cleared = a30.run("mig", "clear", "-i", "0", "--yes")
    assert cleared.exit_code == Exit.OK, cleared.output
    assert result.exit_code == Exit.OK or (left == [] and result.stderr)
