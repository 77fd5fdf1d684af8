# SPDX-License-Identifier: Apache-2.0
"""hamictl sim inject, and what the inventory and the planner make of a sick node."""

import os

import pynvml
import pytest


class Injector:
    """A node and a way to injure it."""

    def __init__(self, hamictl, state):
        self.hamictl, self.state = hamictl, state

    def __call__(self, *words):
        result = self.hamictl.run("sim", "inject", *words, "--state", self.state)
        assert result.exit_code == 0, result.output


@pytest.fixture
def inject(hamictl, node):
    return Injector(hamictl, node("2xA30"))


def test_a_lost_gpu_is_told_and_the_other_serves(hamictl, inject):
    """One GPU off the bus: listed as lost with the reason, the plan goes to the other, and it can return."""
    inject("set", "lost", "1", "--gpu", "0")
    gpus = hamictl.document("--sim", inject.state, "gpu", "list")["gpus"]
    assert [gpu["health"] for gpu in gpus] == ["lost", "ok"]
    assert gpus[0]["note"]
    plan = hamictl.document("--sim", inject.state, "mig", "plan", "--mem", "4000")
    assert plan["gpus"][0]["index"] == 1
    refused = hamictl.document("--sim", inject.state, "mig", "plan", "--mem", "4000", "-i", "1", "--count", "5", code=8)
    assert [reason["code"] for reason in refused["refusal"]["reasons"]] == ["Excluded", "NoFreePlacement"]
    inject("set", "lost", "0", "--gpu", "0")
    assert hamictl.document("--sim", inject.state, "gpu", "list")["gpus"][0]["health"] == "ok"


def test_an_absent_driver_is_exit_code_6(hamictl, inject):
    """The same command works again once the driver is there."""
    inject("set", "driver", "absent")
    assert hamictl.document("--sim", inject.state, "gpu", "list", code=6)["code"] == "DriverMissing"
    inject("set", "driver", "present")
    assert hamictl.run("--sim", inject.state, "gpu", "list").exit_code == 0


@pytest.mark.parametrize("function", ["nvmlDeviceGetGpuInstances", "nvmlInit*", "nvmlDeviceGetGpuInstancePossible*"])
def test_a_driver_that_refuses_this_user_is_exit_code_4_with_what_to_do(hamictl, inject, function):
    """NO_PERMISSION becomes NotPermitted with sudo, the group and --sim as ways out."""
    hamictl.run("--sim", inject.state, "gpu", "list")
    os.environ["HAMI_SIM_STATE"] = str(inject.state)
    pynvml.nvmlInit()
    pynvml.nvmlDeviceSetMigMode(pynvml.nvmlDeviceGetHandleByIndex(0), 1)
    pynvml.nvmlShutdown()
    inject("fault", f"{function}=error:4")
    error = hamictl.document("--sim", inject.state, "mig", "plan", "--mem", "4000", code=4)
    assert error["code"] == "NotPermitted"
    for way in ("sudo", "group hami", "--sim"):
        assert way in error["hint"]
    inject("clear")
    assert hamictl.run("--sim", inject.state, "mig", "plan", "--mem", "4000").exit_code == 0


def test_one_gpu_with_an_odd_error_does_not_hide_the_others(hamictl, inject):
    """NVML's UNKNOWN on one GPU makes that GPU unreadable, with the call that failed; the other is read."""
    inject("fault", "nvmlDeviceGetMemoryInfo@1=error:999")
    gpus = hamictl.document("--sim", inject.state, "gpu", "list")["gpus"]
    assert [gpu["health"] for gpu in gpus] == ["ok", "unreadable"]
    assert "nvmlDeviceGetMemoryInfo" in gpus[1]["note"]


@pytest.mark.parametrize(
    "words",
    [
        ("set", "colour", "blue"),
        ("set", "lost", "perhaps"),
        ("set", "lost", "1", "--gpu", "9"),
        ("fault", "nonsense"),
        ("fault", "f#0=error:1"),
        ("xid", "79"),
    ],
)
def test_bad_injections_are_usage_errors(hamictl, inject, words):
    """An unknown knob, value, GPU or rule is exit code 2 and changes nothing."""
    assert hamictl.run("sim", "inject", *words, "--state", inject.state).exit_code == 2
    assert [g["health"] for g in hamictl.document("--sim", inject.state, "gpu", "list")["gpus"]] == ["ok", "ok"]


def test_a_lasting_node_has_a_root_that_follows_it(inject):
    """Making a node ties the root to the node: the kernel's capability files are below STATE.d."""
    assert list(inject.state.with_name(inject.state.name + ".d").glob("proc/**/*"))
