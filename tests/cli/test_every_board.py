# SPDX-License-Identifier: Apache-2.0
"""The commands that change MIG, from the first plan to the last repair, on every board that can be simulated."""

import pytest
import yaml

from hamid.node.simulation import control

BOARDS = sorted({board.key for board in control.boards()})


@pytest.mark.parametrize("board", BOARDS)
def test_the_whole_session_works_on_every_board(hamictl, node, tmp_path, board):
    """Plan, apply, check, export, apply back, clear, repair, disable: each does what it says, nothing is left."""
    state = node(f"1x{board}")

    def run(*words, code=0):
        return hamictl.document("--sim", state, "mig", *words, code=code)

    def layout():
        return sorted((each["profile"], each["start"]) for each in run("list")["instances"])

    profiles = run("profiles")["profiles"]
    smallest = min(profiles, key=lambda each: (each["memoryMiB"], len(each["name"])))
    count = min(2, smallest["maxInstances"])
    run("apply", "--profile", smallest["name"], "--policy", "packed", "--count", count, "--name", "job", "--yes")
    assert [name for name, _ in layout()] == [smallest["name"]] * count
    for form in ("mig-parted", "yaml", "json"):
        exported = tmp_path / f"{form}.txt"
        result = hamictl.run("--sim", state, "mig", "export", "-o", form)
        assert result.exit_code == 0
        exported.write_text(result.stdout)
        assert yaml.safe_load(result.stdout)
        assert hamictl.run("--sim", state, "mig", "check", "-f", exported).exit_code == 0
        assert run("apply", "-f", exported, "--yes")["steps"] == []
    held = layout()
    run("clear", "-i", "0", "--yes", code=7)
    assert layout() == held
    run("release", "--name", "job", "--yes")
    assert layout() == []
    run("apply", "-f", exported, "--yes")
    assert layout() == held
    run("clear", "-i", "0", "--yes")
    assert run("repair", "--yes")["findings"] == []
    run("disable", "-i", "0", "--yes")
    assert not hamictl.document("--sim", state, "gpu", "show", "0")["gpus"][0]["mig"]["enabled"]
