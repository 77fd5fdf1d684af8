# SPDX-License-Identifier: Apache-2.0
"""hamid's files for systemd come and go as a whole, and never at the cost of a running container."""

import json
import os
import stat

import jsonschema
import msgspec
import pytest
from support import REPOSITORY

from hamictl.commands.service import _check_links
from hamid.core.errors import InUse
from hamid.core.exits import Exit
from hamid.node.paths import Paths
from hamid.node.system.service import ServicePlan, missing_links

SCHEMA = REPOSITORY / "docs" / "json" / "ServiceChange.schema.json"
UNIT = "etc/systemd/system/hamid.service"


def files(root):
    return sorted(str(each.relative_to(root)) for each in root.rglob("*") if each.is_file())


def test_install_and_uninstall_leave_nothing(hamictl, tmp_path):
    """The files are written whole with this hamid's absolute path; again nothing changes; uninstall takes all away."""
    service = ("--root", tmp_path, "service")
    document = hamictl.document(*service, "install", "--dry-run")
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert files(tmp_path) == []
    assert hamictl.run(*service, "install", "--yes").exit_code == Exit.OK
    assert {str(tmp_path / each) for each in files(tmp_path)} == {each["path"] for each in document["files"]}
    (start,) = [line for line in (tmp_path / UNIT).read_text().splitlines() if line.startswith("ExecStart=")]
    assert os.access(start.removeprefix("ExecStart="), os.X_OK)
    assert stat.S_IMODE((tmp_path / UNIT).stat().st_mode) == 0o644
    again = hamictl.document(*service, "install", "--yes")
    assert {each["action"] for each in again["files"]} == {"keep"}
    jsonschema.validate(hamictl.document(*service, "uninstall", "--dry-run"), json.loads(SCHEMA.read_text()))
    assert hamictl.run(*service, "uninstall", "--yes").exit_code == Exit.OK
    assert files(tmp_path) == []
    assert hamictl.run(*service, "uninstall", "--yes").stdout == "nothing to do\n"


def test_somebody_elses_unit_stays(hamictl, tmp_path):
    """A unit that we did not write is neither replaced (2) nor removed."""
    unit = tmp_path / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/opt/other\n")
    refused = hamictl.run("--root", tmp_path, "service", "install", "--yes")
    assert refused.exit_code == Exit.USAGE
    assert str(unit) in refused.stderr
    assert hamictl.run("--root", tmp_path, "service", "uninstall", "--yes").exit_code == Exit.OK
    assert files(tmp_path) == [UNIT]


def test_nobody_is_asked_where_nobody_answers(hamictl, tmp_path):
    """Without a terminal and without --yes nothing is written (2); a simulated node has no systemd (2)."""
    assert hamictl.run("--root", tmp_path, "service", "install").exit_code == Exit.USAGE
    assert files(tmp_path) == []
    assert hamictl.run("--sim", "1xA30", "service", "install", "--yes").exit_code == Exit.USAGE


def test_device_nodes_without_links_are_found(tmp_path):
    """Every NVIDIA node without its link in /dev/char is named, and no other device."""
    dev = tmp_path / "dev"
    (dev / "nvidia-caps").mkdir(parents=True)
    (dev / "char").mkdir()
    nodes = {"nvidia0": (195, 0), "nvidiactl": (195, 255), "nvidia-caps/nvidia-cap1": (238, 1), "null": (1, 3)}
    try:
        for name, (major, minor) in nodes.items():
            os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
    except PermissionError:
        pytest.skip("device nodes may not be made here")
    (dev / "char" / "195:255").symlink_to("../null")
    (dev / "nvidia-not-a-device").touch()
    found = missing_links(Paths(str(tmp_path)))
    assert found == (("/dev/nvidia0", "/dev/char/195:0"), ("/dev/nvidia-caps/nvidia-cap1", "/dev/char/238:1"))


def test_a_daemon_reload_that_would_harm_is_refused():
    """With missing links and a reload to come the command ends with 7 before anything is written."""
    plan = ServicePlan(
        files=(), commands=(("systemctl", "daemon-reload"),), missing_links=(("/dev/nvidia0", "/dev/char/195:0"),)
    )
    with pytest.raises(InUse, match="/dev/nvidia0"):
        _check_links(plan)
    _check_links(msgspec.structs.replace(plan, commands=()))
    _check_links(msgspec.structs.replace(plan, missing_links=()))
