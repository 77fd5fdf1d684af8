# SPDX-License-Identifier: Apache-2.0
"""Listing commands on simulated nodes."""

import ctypes

import pynvml
import pytest
import yaml

from hamid.node.simulation import control


@pytest.fixture
def split(node, monkeypatch):
    """A lasting A100 node with MIG on and 2g.10gb@2 and 1g.5gb@6, made through nvidia-ml-py."""
    state = node("2xA100-SXM4-40GB")
    monkeypatch.setenv("HAMI_SIM_STATE", str(state))
    control.preload()
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(1)
    assert pynvml.nvmlDeviceSetMigMode(device, 1) == 0
    for profile, start, size in ((14, 2, 2), (19, 6, 1)):
        place = pynvml.c_nvmlGpuInstancePlacement_t(start, size)
        instance = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(device, profile, ctypes.byref(place))
        pynvml.nvmlGpuInstanceCreateComputeInstance(instance, {14: 1, 19: 0}[profile])
    pynvml.nvmlShutdown()
    return state


def test_mig_list_tells_identity_placement_and_holders(hamictl, split):
    """Each instance with its ids, its place and who holds it; a holder makes it used."""
    listing = hamictl.document("--sim", split, "mig", "list")
    assert (listing["kind"], listing["simulated"]) == ("MigInstanceList", True)
    found = [(i["gpu"], i["profile"], i["start"], i["size"], i["giId"], i["ciId"]) for i in listing["instances"]]
    assert found == [(1, "2g.10gb", 2, 2, 4, 0), (1, "1g.5gb", 6, 1, 13, 0)]
    uuid = listing["instances"][0]["migUUID"]
    assert uuid.startswith("MIG-")
    start = ("sim", "process", "start", "--state", split, "--instance", uuid, "--memory", "1000")
    pid = hamictl.document(*start)["pid"]
    held = hamictl.document("--sim", split, "mig", "list")["instances"][0]
    assert [holder["pid"] for holder in held["holders"]] == [pid]
    assert held["used"] is True
    assert hamictl.run("sim", "process", "stop", pid, "--state", split).exit_code == 0
    assert hamictl.document("--sim", split, "mig", "list")["instances"][0]["holders"] == []


def test_a_plan_reuses_what_lies_idle_and_keeps_what_is_held(hamictl, split):
    """Through the whole stack: an idle 2g.10gb serves 8000 MiB; once held, another is created beside it."""
    words = ("--sim", split, "mig", "plan", "--mem", "8000", "-i", "1")
    actions = [(i["action"], i["serves"]) for i in hamictl.document(*words)["gpus"][0]["instances"]]
    assert actions == [("reuse", True), ("keep", False)]
    uuid = hamictl.document("--sim", split, "mig", "list")["instances"][0]["migUUID"]
    hamictl.run("sim", "process", "start", "--state", split, "--instance", uuid, "--memory", "10")
    plan = hamictl.document(*words)["gpus"][0]["instances"]
    assert sorted((i["action"], i["profile"]) for i in plan) == [
        ("create", "2g.10gb"),
        ("keep", "1g.5gb"),
        ("keep", "2g.10gb"),
    ]


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
@pytest.mark.parametrize(
    "words", [("gpu", "list"), ("gpu", "show", "0"), ("mig", "list"), ("mig", "profiles"), ("mig", "templates")]
)
def test_every_listing_has_every_form(hamictl, split, words, form):
    """table, wide, json, yaml and name work for each listing, the flag before or after the command."""
    before = hamictl.run("--sim", split, "-o", form, *words)
    after = hamictl.run("--sim", split, *words, "-o", form)
    assert before.exit_code == after.exit_code == 0
    assert before.stdout == after.stdout
    assert before.stdout.strip()


def test_yaml_says_the_same_as_json(hamictl):
    """Both forms are one document."""
    words = ("--sim", "1xA30", "mig", "profiles")
    assert yaml.safe_load(hamictl.run(*words, "-o", "yaml").stdout) == hamictl.document(*words)


def test_names_are_what_other_commands_take(hamictl):
    """-o name of GPUs gives uuids that -i accepts."""
    names = hamictl.run("--sim", "2xA30", "gpu", "list", "-o", "name").stdout.split()
    found = hamictl.document("--sim", "2xA30", "gpu", "list", "-i", names[1])["gpus"]
    assert [gpu["index"] for gpu in found] == [1]


def test_boards_with_unknown_numbers_are_listed_without_invention(hamictl):
    """A GB200's total memory and large profiles are unknown: null and absent, never made up; the axis is still 8."""
    gpu = hamictl.document("--sim", "1xGB200-186GB", "gpu", "list")["gpus"][0]
    assert gpu["memoryMiB"] is None
    names = [each["name"] for each in hamictl.document("--sim", "1xGB200-186GB", "mig", "profiles")["profiles"]]
    assert names == ["1g.23gb", "1g.23gb+me", "1g.47gb", "2g.47gb"]


def test_version_is_told_with_and_without_a_driver(hamictl, process):
    """`version` works on any machine; with a node it tells the driver's too."""
    assert hamictl.document("--sim", "1xA30", "version")["driverVersion"]
    alone = process("version", "-o", "json")
    assert alone.returncode == 0
    assert '"version"' in alone.stdout


def test_no_driver_is_exit_code_6(process):
    """On a machine without libnvidia-ml the error says so and what to try."""
    result = process("gpu", "list")
    if result.returncode == 0:
        pytest.skip("this machine has an NVIDIA driver")
    assert result.returncode == 6
    assert "--sim" in result.stderr
