# SPDX-License-Identifier: Apache-2.0
"""The files for systemd, read by systemd's own tools where the machine has them."""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from hamid.node.paths import native_file

FOLDER = Path(native_file("systemd"))
UNIT = FOLDER / "hamid.service"
MOST_EXPOSURE = 4.0


def tool(name, *words):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed here")
    return subprocess.run([name, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


def test_the_unit_is_clean_on_its_own(tmp_path):
    """systemd-analyze verify says nothing of the unit in a folder where only it lies."""
    alone = shutil.copy(UNIT, tmp_path)
    result = tool("systemd-analyze", "verify", alone)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_exposure_stays_low():
    """systemd-analyze security counts an exposure of at most 4.0."""
    result = tool("systemd-analyze", "security", "--offline=yes", "--no-pager", UNIT)
    figure = re.search(r"Overall exposure level for hamid.service: ([0-9.]+)", result.stdout)
    assert figure is not None, result.stdout + result.stderr
    assert float(figure[1]) <= MOST_EXPOSURE


@pytest.mark.parametrize(
    "breaking",
    [
        "PrivateDevices",
        "DevicePolicy",
        "DeviceAllow",
        "PrivateTmp",
        "ProtectProc",
        "ProcSubset",
        "ProtectClock",
        "PrivateNetwork",
        "PrivateUsers",
        "StartLimitBurst",
        "Requires",
        "BindsTo",
    ],
)
def test_what_would_break_the_work_is_not_set(breaking):
    """No key that would shut out a late driver, other processes, shared lock files or kubelet."""
    assert not re.search(rf"^{breaking}=", UNIT.read_text(), re.MULTILINE)


def test_every_written_path_may_be_missing():
    """Each write path carries a dash, so that a node without it starts all the same."""
    (paths,) = re.findall(r"^ReadWritePaths=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert all(path.startswith("-/") for path in paths.split())


def test_folders_are_made_as_they_should_be(tmp_path):
    """Sysusers and tmpfiles together make group, state, run and lock folders with their modes."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    made = tool("systemd-sysusers", f"--root={root}", FOLDER / "hami.sysusers.conf")
    assert made.returncode == 0, made.stderr
    assert "hami:" in (root / "etc" / "group").read_text()
    made = tool("systemd-tmpfiles", f"--root={root}", "--create", FOLDER / "hami.tmpfiles.conf")
    assert made.returncode == 0, made.stderr
    modes = {path: stat.S_IMODE((root / path).stat().st_mode) for path in ("var/lib/hami", "run/hami", "tmp/vgpulock")}
    assert modes == {"var/lib/hami": 0o755, "run/hami": 0o750, "tmp/vgpulock": 0o1777}


def test_lock_files_are_kept_from_cleaning(tmp_path):
    """A cleaning of everything older than a second leaves a lock file alone and takes its neighbour."""
    root = tmp_path / "root"
    locks = root / "tmp" / "vgpulock"
    locks.mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy("/etc/group", root / "etc" / "group")
    (locks / "lock").touch()
    (root / "tmp" / "neighbour").touch()
    general = tmp_path / "general.conf"
    general.write_text("q /tmp 1777 root root 0\n")
    cleaned = tool("systemd-tmpfiles", f"--root={root}", "--clean", general, FOLDER / "hami.tmpfiles.conf")
    assert "Traceback" not in cleaned.stderr
    assert (locks / "lock").exists()
    assert not (root / "tmp" / "neighbour").exists()
