# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's own nvidia-smi judges the simulated driver."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support import smi
from support.narrow import present

from hamid.node.paths import native_file
from hamid.node.simulation import control

LIBRARIES = str(Path(native_file("simulator/libnvidia-ml.so.1")).parent)
A100 = "A100-SXM4-40GB"


@pytest.fixture(scope="module", params=["550", "535"])
def program(request):
    """The real nvidia-smi of a driver branch, or a skip with the reason."""
    smi.CACHE.mkdir(parents=True, exist_ok=True)
    try:
        with (smi.CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one test run fetch once
            return smi.fetch(request.param)
    except RuntimeError as error:
        pytest.skip(f"nvidia-smi {request.param} cannot be fetched: {error}")


@pytest.fixture
def state(make_state):
    """A node with two GPUs."""
    return make_state(f"2x{A100}")


@pytest.fixture
def run(program, state):
    """Runs nvidia-smi on that node; gives its exit code and what it printed."""
    environment = {"HAMI_SIM_STATE": str(state), "LD_LIBRARY_PATH": LIBRARIES, "PATH": os.environ["PATH"]}

    def call(*arguments):
        done = subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return call


def rows(text, *wanted):
    """The lines of a table that have all these words."""
    return [line for line in text.splitlines() if all(word in line for word in wanted)]


def test_devices_are_listed(run):
    """-L names every GPU and its MIG devices with their UUIDs."""
    assert run("-mig", "1")[0] == 0
    assert run("mig", "-i", "0", "-cgi", "9,19,14,19", "-C")[0] == 0
    code, text = run("-L")
    assert code == 0
    assert len(re.findall(r"^GPU \d: NVIDIA A100-SXM4-40GB \(UUID: GPU-[0-9a-f-]{36}\)", text, re.MULTILINE)) == 2
    assert re.findall(r"MIG (\S+) +Device +(\d):", text) == [
        ("3g.20gb", "0"),
        ("1g.5gb", "1"),
        ("2g.10gb", "2"),
        ("1g.5gb", "3"),
    ]


def test_the_default_table_shows_mig_devices(run):
    """The table without arguments shows memory, MIG mode and each MIG device with its ids and size."""
    run("-mig", "1")
    run("mig", "-i", "0", "-cgi", "9,14", "-C")
    code, text = run()
    assert code == 0
    assert len(rows(text, "40960MiB")) == 2
    assert len(rows(text, "Enabled")) == 2
    assert rows(text, "0    2   0   0", "19968MiB", "42")
    assert rows(text, "9856MiB", "28")


def test_the_report_is_sound_xml(run):
    """-q -x is well-formed and carries the MIG devices, and no list in it is garbage."""
    run("-mig", "1")
    run("mig", "-i", "0", "-cgi", "9", "-C")
    code, text = run("-q", "-x")
    assert code == 0
    assert text.count("\n") < 2000
    report = ET.fromstring(text[text.index("<nvidia_smi_log>") :])
    assert [gpu.findtext("mig_mode/current_mig") for gpu in report.iter("gpu")] == ["Enabled"] * 2
    (device,) = report.iter("mig_device")
    assert (device.findtext("gpu_instance_id"), device.findtext("fb_memory_usage/total")) == ("2", "19968 MiB")


def test_profiles_and_placements_are_listed(run):
    """-lgip and -lgipp print every profile and placement as hardware does."""
    run("-mig", "1")
    code, text = run("mig", "-lgip", "-i", "0")
    assert code == 0
    assert re.findall(r"MIG (\S+) +(\d+) +(\d/\d) +([\d.]+)", text) == [
        ("1g.5gb", "19", "7/7", "4.75"),
        ("1g.5gb+me", "20", "1/1", "4.75"),
        ("1g.10gb", "15", "4/4", "9.62"),
        ("2g.10gb", "14", "3/3", "9.62"),
        ("3g.20gb", "9", "2/2", "19.50"),
        ("4g.20gb", "5", "1/1", "19.50"),
        ("7g.40gb", "0", "1/1", "39.25"),
    ]
    code, text = run("mig", "-lgipp", "-i", "0")
    assert code == 0
    assert "Profile ID 19 Placements: {0,1,2,3,4,5,6}:1" in text
    assert "Profile ID  9 Placements: {0,4}:4" in text
    assert "Profile ID  0 Placement : {0}:8" in text


def test_order_of_creation_matters_as_on_hardware(run):
    """19,19,14,9 fails with insufficient resources after GPU instances 13, 11 and 3; 9,19,14,19 works."""
    run("-mig", "1")
    code, text = run("mig", "-i", "0", "-cgi", "19,19,14,9", "-C")
    assert (code, "Insufficient Resources" in text) == (23, True)
    assert re.findall(r"created GPU instance ID +(\d+)", text) == ["13", "11", "3"]
    assert run("mig", "-i", "0", "-dci")[0] == 0
    assert run("mig", "-i", "0", "-dgi")[0] == 0
    code, text = run("mig", "-i", "0", "-cgi", "9,19,14,19", "-C")
    assert code == 0
    assert re.findall(r"created GPU instance ID +(\d+)", text) == ["2", "7", "4", "8"]


def test_instances_are_made_by_id_name_and_start(run):
    """-cgi takes ids, names and explicit starts; -lgi and -lci list what was made; -lcip what could be."""
    run("-mig", "1")
    assert run("mig", "-i", "0", "-cgi", "19:6")[0] == 0
    assert run("mig", "-i", "0", "-cgi", "3g.20gb")[0] == 0
    assert run("mig", "-i", "0", "-cci")[0] == 0
    code, text = run("mig", "-lgi")
    assert code == 0
    assert rows(text, "MIG 1g.5gb", "19", "13", "6:1")
    assert rows(text, "MIG 3g.20gb", "9", "1", "0:4")
    code, text = run("mig", "-lci")
    assert (code, len(rows(text, "MIG 3g.20gb", "0:3"))) == (0, 1)
    code, text = run("mig", "-lcip", "-i", "0")
    assert (code, bool(rows(text, "MIG 2c.3g.20gb"))) == (0, True)


def test_destroying_in_use_is_refused(run, state):
    """GPU instances with compute instances, and instances with processes, are in use by another client."""
    run("-mig", "1")
    run("mig", "-i", "0", "-cgi", "9", "-C")
    code, text = run("mig", "-i", "0", "-dgi", "-gi", "2")
    assert (code, "In use by another client" in text) == (19, True)
    uuid = present(re.search(r"MIG-[0-9a-f-]{36}", run("-L")[1])).group()
    control.add_process(uuid, os.getpid(), 100, state=state)
    code, text = run("mig", "-i", "0", "-dci")
    assert (code, "In use by another client" in text) == (19, True)
    control.remove_process(os.getpid(), state=state)
    assert run("mig", "-i", "0", "-dci")[0] == 0
    assert run("mig", "-i", "0", "-dgi")[0] == 0


def test_the_mode_is_switched_and_refused(run, state):
    """-mig 1 and 0 switch idle GPUs; instances refuse it, clients keep it pending."""
    assert run("-mig", "1", "-i", "0")[0] == 0
    run("mig", "-i", "0", "-cgi", "19")
    code, text = run("-mig", "0", "-i", "0")
    assert (code, "In use by another client" in text) == (19, True)
    run("mig", "-i", "0", "-dgi")
    assert run("-mig", "0", "-i", "0")[0] == 0
    uuid = re.findall(r"GPU-[0-9a-f-]{36}", run("-L")[1])[1]
    control.add_process(uuid, os.getpid(), 100, state=state)
    text = run("-mig", "1", "-i", "1")[1]
    assert "pending enable state" in text


def test_processes_are_shown(run, state):
    """The process box names a process with its ids and memory, also on a MIG device."""
    run("-mig", "1", "-i", "1")
    run("mig", "-i", "1", "-cgi", "14", "-C")
    text = run("-L")[1]
    for pattern in (r"GPU 0: .*(GPU-[0-9a-f-]{36})", r"(MIG-[0-9a-f-]{36})"):
        control.add_process(present(re.search(pattern, text)).group(1), os.getpid(), 123, name="train", state=state)
    text = run()[1]
    pid = str(os.getpid())
    assert rows(text, "0   N/A  N/A", pid, "train", "123MiB")
    assert rows(text, "1    5    0", pid, "train", "123MiB")


def test_questions_by_query(run):
    """--query-gpu answers the usual fields."""
    fields = "index,name,memory.total,mig.mode.current,temperature.gpu,power.limit,pci.bus_id"
    code, text = run(f"--query-gpu={fields}", "--format=csv,noheader")
    assert code == 0
    assert text.splitlines()[0] == ("0, NVIDIA A100-SXM4-40GB, 40960 MiB, Disabled, 31, 400.00 W, 00000000:07:00.0")
