# SPDX-License-Identifier: Apache-2.0
"""What is typed beside a change means what it says, or is refused: nothing is silently passed over."""

import os

import pytest

from hamid.node.simulation import control

FILE = """
version: v1
mig-configs:
  all: [{devices: all, mig-enabled: true, mig-devices: {"1g.6gb": 1}}]
"""


@pytest.fixture
def a30(hamictl, node):
    """Runs a command on a lasting node of two A30."""
    state = node("2xA30")
    return lambda *words: hamictl.run("--sim", state, *words)


def layout(a30):
    return a30("mig", "list", "-o", "name").stdout


@pytest.mark.parametrize(
    ("form", "beside", "named"),
    [
        (("--layout", "0=1g.6gb"), ("-i", "1"), "--gpu cannot be used with --layout"),
        (("--layout", "0=1g.6gb"), ("--count", "3"), "--count"),
        (("--layout", "0=1g.6gb"), ("--name", "job"), "--name"),
        (("--layout", "0=1g.6gb"), ("-c", "all"), "--config"),
        (
            ("--layout", "0=1g.6gb"),
            ("--reclaim-idle", "--no-enable"),
            "--no-enable, --reclaim-idle cannot be used with",
        ),
        (("--template", "0", "-i", "0"), ("--policy", "packed"), "--policy"),
        (("--template", "0", "-i", "0"), ("-c", "all"), "--config"),
        (("-f", "FILE"), ("-i", "0"), "--gpu"),
        (("-f", "FILE"), ("--cores", "50"), "--cores"),
        (("PLAN",), ("-i", "0"), "--gpu"),
        (("PLAN",), ("--name", "job"), "--name"),
        (("--mem", "6000"), ("-c", "all"), "--config"),
    ],
)
def test_an_option_that_its_form_does_not_read_is_refused(a30, tmp_path, form, beside, named):
    """`-f FILE -i 0` must not change GPU 1: what a form does not read is a usage error, and nothing changes."""
    paths = {"FILE": tmp_path / "layout.yaml", "PLAN": tmp_path / "plan.json"}
    paths["FILE"].write_text(FILE)
    assert a30("mig", "apply", "--layout", "0=1g.6gb", "--out", paths["PLAN"]).exit_code == 0
    words = ["mig", "apply", *(paths.get(word, word) for word in form), "--yes"]
    refused = a30(*words, *beside)
    assert refused.exit_code == 2, refused.output
    assert named in refused.stderr
    assert layout(a30) == ""
    assert a30(*words).exit_code == 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_a_deadline_is_a_time_that_can_pass(a30, seconds):
    """No deadline at all, one that has passed and none that ever comes are refused before anything begins."""
    refused = a30("mig", "apply", "--layout", "0=1g.6gb", "--yes", "--timeout", seconds)
    assert refused.exit_code == 2
    assert "is out of range" in refused.stderr
    assert layout(a30) == ""


def test_what_saves_no_plan_has_no_option_for_it(a30, tmp_path):
    """`mig release --out` would promise to change nothing; release, repair and restore do not take it."""
    assert a30("mig", "apply", "--mem", "6000", "--name", "job", "--yes").exit_code == 0
    before = layout(a30)
    for words in (("release", "--name", "job"), ("repair",), ("restore",)):
        assert a30("mig", *words, "--yes", "--out", tmp_path / "plan.json").exit_code == 2
    assert layout(a30) == before != ""


def test_a_plan_replaces_nothing_but_files(a30, tmp_path):
    """--out never replaces a pipe, a device or a folder; the new content of a file is there as a whole."""
    pipe, folder, file = tmp_path / "pipe", tmp_path / "folder", tmp_path / "plan.json"
    os.mkfifo(pipe)
    folder.mkdir()
    file.write_text("old")
    for target in (pipe, folder, "/dev/null"):
        refused = a30("mig", "apply", "--layout", "0=1g.6gb", "--out", target)
        assert refused.exit_code == 2
        assert "not a regular file" in refused.stderr
    assert pipe.is_fifo()
    assert a30("mig", "apply", "--layout", "0=1g.6gb", "--out", file).exit_code == 0
    assert a30("mig", "apply", file, "--yes").exit_code == 0
    assert sorted(each.name for each in tmp_path.iterdir() if "plan" in each.name) == ["plan.json"]


def test_a_layout_that_divides_an_instance_is_refused_by_name(a30):
    """`1c.2g.12gb` is refused in a layout as in a file; `2c.2g.12gb` is the whole of 2g.12gb."""
    refused = a30("mig", "apply", "--layout", "0=1c.2g.12gb@0", "--yes")
    assert refused.exit_code == 2
    assert "1c.2g.12gb@0 shares a GPU instance between compute instances" in refused.stderr
    assert "request 2g.12gb@0 as a whole" in refused.stderr
    assert a30("mig", "apply", "--layout", "0=2c.2g.12gb@2", "--yes").exit_code == 0


def test_a_failure_tells_in_its_document_what_was_taken_back(hamictl, node):
    """A program that reads only stdout learns each step that was undone."""
    state = node("1xA30")
    words = ("--sim", state, "mig", "apply", "--layout", "0=1g.6gb@0,1g.6gb@1", "--yes")
    assert hamictl.run("--sim", state, "mig", "enable", "-i", "0", "--yes").exit_code == 0
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#2=error:23", state=state)
    failed = hamictl.document(*words, code=1)
    assert failed["kind"] == "Error"
    assert "undone: create 1g.6gb@0 on GPU 0" in failed["notes"]
