# SPDX-License-Identifier: Apache-2.0
"""hamictl sim: the life of a lasting simulated node."""

import os
from pathlib import Path

import pytest
from support.waiting import until


def gone(pid):
    """True once the process is no more, or dead and only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_node_lives_from_up_to_down(hamictl, tmp_path):
    """The command up makes state and root, status shows it, down removes both."""
    state = tmp_path / "node"
    assert hamictl.run("--sim", state, "sim", "up", "--node", "2xA30").exit_code == 0
    assert (tmp_path / "node.d").is_dir()
    assert len(hamictl.document("sim", "status", "--state", state)["gpus"]) == 2
    assert hamictl.run("--sim", state, "sim", "down").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_up_never_overwrites(hamictl, tmp_path):
    """A file that exists stays as it is, whether it is a node or not."""
    state = tmp_path / "precious"
    state.write_text("mine")
    assert hamictl.run("sim", "up", "--node", "1xA30", "--state", state).exit_code == 2
    assert state.read_text() == "mine"
    assert not (tmp_path / "precious.d").exists()


def test_a_bad_node_leaves_nothing_behind(hamictl, tmp_path):
    """An unknown board is refused with the choices, and neither state nor root appears."""
    result = hamictl.run("sim", "up", "--node", "1xA1000", "--state", tmp_path / "node")
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_down_keeps_a_directory_that_up_did_not_make(hamictl, tmp_path):
    """Only a root with up's marker is removed; other files at STATE.d stay."""
    state = tmp_path / "node"
    hamictl.run("sim", "up", "--node", "1xA30", "--state", state)
    (tmp_path / "node.d" / ".hami-sim").unlink()
    (tmp_path / "node.d" / "data").write_text("mine")
    assert hamictl.run("sim", "down", "--state", state).exit_code == 0
    assert (tmp_path / "node.d" / "data").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 65536, b"HAMI" * 100000])
def test_a_file_that_is_no_node_is_refused_not_mapped(hamictl, tmp_path, content):
    """Any bytes at the path give exit code 2 and a reason, never a crash."""
    state = tmp_path / "file"
    state.write_bytes(content)
    for words in (
        ("--sim", state, "gpu", "list"),
        ("sim", "status", "--state", state),
        ("sim", "down", "--state", state),
    ):
        result = hamictl.run(*words)
        assert result.exit_code == 2
        assert str(state) in result.stderr
    assert state.read_bytes() == content


def test_env_prints_what_other_clients_need(node, process):
    """The exports, evaluated by a shell, lead an unchanged hamictl to the same node and root."""
    state = node("1xA30")
    lines = process("sim", "env", "--state", state).stdout.splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert set(variables) == {"HAMI_SIM_STATE", "HAMI_ROOT", "LD_LIBRARY_PATH"}
    assert variables["HAMI_ROOT"] == f"{state}.d"
    listing = process("gpu", "list", "-o", "json", env={**os.environ, **variables})
    assert listing.returncode == 0
    assert '"simulated": true' in listing.stdout


def test_holders_end_with_their_node(node, hamictl):
    """The command down ends the holders and waits for them; a removed state file ends them as well."""
    first, second = node("1xA30"), node("1xA30")
    pids = [
        hamictl.document("sim", "process", "start", "--state", state, "--gpu", "0", "--memory", "100")["pid"]
        for state in (first, second)
    ]
    assert hamictl.document("sim", "down", "--state", first)["ended"] == [pids[0]]
    assert gone(pids[0])
    second.unlink()
    until(lambda: gone(pids[1]))


def test_a_holder_that_does_not_fit_is_refused(node, hamictl):
    """More memory than is free is an error and leaves no process."""
    state = node("1xA30")
    start = ("sim", "process", "start", "--state", state, "--gpu", "0", "--memory", "1Ti")
    assert hamictl.run(*start).exit_code == 2
    assert hamictl.document("sim", "status", "--state", state)["processes"] == []


def test_only_holders_can_be_stopped(node, hamictl):
    """`process stop` never signals a pid that is no holder of the node."""
    state = node("1xA30")
    assert hamictl.run("sim", "process", "stop", os.getpid(), "--state", state).exit_code == 2


def test_a_throw_away_node_reads_no_real_file(hamictl, tmp_path, monkeypatch):
    """--sim SPEC implies a root of its own: HAMI_ROOT with a broken configuration does not matter."""
    (tmp_path / "etc/hami").mkdir(parents=True)
    (tmp_path / "etc/hami/device-config.yaml").write_text("nvidia: [")
    monkeypatch.setenv("HAMI_ROOT", str(tmp_path))
    assert hamictl.run("--sim", "1xA30", "mig", "plan", "--mem", "4000").exit_code == 0
    assert hamictl.run("--sim", "1xA30", "--root", tmp_path, "mig", "plan", "--mem", "4000").exit_code == 2
