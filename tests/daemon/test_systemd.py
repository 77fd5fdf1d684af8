# SPDX-License-Identifier: Apache-2.0
"""The unit under a real systemd, which the test starts in namespaces and over an overlay of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.waiting import LIMIT_SECONDS, until

from hamid.node.paths import native_file

SYSTEMD = next((each for each in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if Path(each).exists()), None)
BIN = Path(sys.executable).parent
# The overlay shows one file system alone, and its /tmp is empty: what runs there may lie elsewhere.
VISIBLE = " ".join(dict.fromkeys((sys.prefix, sys.base_prefix, *filter(os.path.isdir, sys.path))))
LEGACY = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
# Run in fresh namespaces: a private root over the machine's own, with its own /run, /tmp and cgroups.
BOOT = """
mount -t overlay overlay -o lowerdir=/,upperdir={place}/up,workdir={place}/work {place}/root || exit 9
cd {place}/root
mount -t proc proc proc && mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp || exit 9
mount -t sysfs sysfs sys && mount -t tmpfs tmpfs sys/fs/cgroup && mount --bind /dev dev || exit 9
mkdir sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd || exit 9
for each in {visible}; do mkdir -p .$each && mount --bind $each .$each || exit 9; done
rm -rf etc/systemd/system etc/hami var/lib/hami var/lib/kubelet
mkdir -p etc/systemd/system/hamid.service.d etc/hami
cp {unit} etc/systemd/system/
cp {place}/test.conf etc/systemd/system/hamid.service.d/
cp {place}/test.target etc/systemd/system/
cp {place}/hamid.yaml etc/hami/
exec env container=test chroot . {systemd} --log-target=console --show-status=0 --unit=test.target {legacy}
"""
DROP_IN = """\
[Service]
WatchdogSec=6s
RestartSec=0.2s
ExecStartPre=/bin/sh -c 'cat /proc/$(cat /run/other.pid)/maps > /run/maps'
ExecStart=
ExecStart={bin}/hamid --sim /run/node --root / --kubelet-root /var/lib/kubelet
"""
CONFIG = "metrics_address: ''\nreconcile_seconds: 0.5\nmode: mig\n"


class Machine:
    """A systemd of the test's own; `run` is a command there."""

    def __init__(self, place):
        self.place = place
        for name in ("up", "work", "root"):
            (place / name).mkdir()
        (place / "test.conf").write_text(DROP_IN.format(bin=BIN))
        (place / "hamid.yaml").write_text(CONFIG)
        (place / "test.target").write_text("[Unit]\nDescription=test\nDefaultDependencies=no\n")
        unit = native_file("systemd/hamid.service")
        script = BOOT.format(place=place, unit=unit, visible=VISIBLE, systemd=SYSTEMD, legacy=LEGACY)
        command = ["unshare", "-m", "-p", "-f", "-u", "-i", "-C", "--propagation", "private", "sh", "-c", script]
        self.log = (place / "log").open("wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.children = []

    @property
    def init(self):
        """The pid of the new systemd, or nothing."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(iter(pids), "")

    def inside(self, *words):
        enter = ["nsenter", "-t", self.init, "-m", "-p", "-u", "-i", "-C"]
        return [*enter, "chroot", f"{self.place}/root", *map(str, words)]

    def run(self, *words):
        return subprocess.run(self.inside(*words), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)

    def start(self, *words):
        """A process there that ends with the machine."""
        self.children.append(subprocess.Popen(self.inside(*words), stdout=subprocess.DEVNULL))

    def is_up(self):
        """True once systemd answers; before it runs, systemctl sees a chroot, says nothing and ends with 0."""
        return bool(self.init) and self.run("systemctl", "show", "-P", "Version").stdout.strip() != ""

    def hamictl(self, *words):
        """The command line on the simulated node there."""
        done = self.run(BIN / "hamictl", "--sim", "/run/node", *words)
        assert done.returncode == 0, done.stderr

    def show(self, name):
        """A property of the unit."""
        return self.run("systemctl", "show", "-P", name, "hamid").stdout.strip()

    def journal(self):
        return self.run("journalctl", "-u", "hamid", "-o", "cat", "--no-pager").stdout

    def close(self):
        if self.init:
            os.kill(int(self.init), signal.SIGKILL)
        for each in (self.process, *self.children):
            each.wait(LIMIT_SECONDS)
        self.log.close()


@pytest.fixture
def machine():
    if SYSTEMD is None or shutil.which("nsenter") is None or os.geteuid() != 0:
        pytest.skip("a systemd can be started only by root, where there is one")
    # An overlay's upper half must lie on another file system than the root that is its lower one.
    place = Path(tempfile.mkdtemp(prefix="hd", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    made = Machine(place)
    try:
        until(lambda: made.process.poll() is not None or made.is_up())
        if made.process.poll() is not None:
            pytest.skip("namespaces, overlays or cgroups are not allowed here")
        yield made
    finally:
        made.close()
        shutil.rmtree(place, ignore_errors=True)


def test_the_unit_lives_under_a_real_systemd(machine):
    """Start, STATUS, a late driver, kubelet's directory recreated, reload, watchdog, another user's maps, stop."""
    machine.run(
        "sh", "-c", "setpriv --reuid 65534 --clear-groups sleep 1000 >/dev/null 2>&1 & echo $! > /run/other.pid"
    )
    assert machine.run(BIN / "hamictl", "sim", "up", "--state", "/run/node", "--node", "1xA30").returncode == 0
    machine.hamictl("sim", "inject", "fault", "nvmlInit*=error:9")
    begun = machine.run("systemctl", "start", "hamid")
    assert begun.returncode == 0, begun.stderr + machine.journal()

    assert machine.show("ActiveState") == "active"
    until(lambda: "driver is not loaded" in machine.show("StatusText"))
    assert "sleep" in machine.run("cat", "/run/maps").stdout, "the maps of another uid are readable in the unit"

    machine.hamictl("sim", "inject", "clear")
    until(lambda: "10 devices offered" in machine.show("StatusText"))
    machine.start(BIN / "python", "-m", "hamid.testing.kubelet", "--root", "/var/lib/kubelet", "serve")
    until(lambda: "registered resource=" in machine.journal())
    machine.run("rm", "-rf", "/var/lib/kubelet/device-plugins")
    machine.run(BIN / "python", "-m", "hamid.testing.kubelet", "--root", "/var/lib/kubelet", "restart")
    until(lambda: "registrations=2" in machine.journal())

    machine.run("sh", "-c", "echo 'split_count: 3' >> /etc/hami/hamid.yaml")
    assert machine.run("systemctl", "reload", "hamid").returncode == 0
    until(lambda: "3 devices offered" in machine.show("StatusText"))

    before = machine.show("MainPID")
    machine.run("kill", "-STOP", before)
    until(lambda: machine.show("MainPID") not in {before, "0"})
    until(lambda: "3 devices offered" in machine.show("StatusText"))
    assert machine.show("NRestarts") == "1"

    assert machine.run("systemctl", "stop", "hamid").returncode == 0
    assert (machine.show("ActiveState"), machine.show("Result")) == ("inactive", "success")
