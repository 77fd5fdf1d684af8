# SPDX-License-Identifier: Apache-2.0
"""Every row of the table of exit codes, by a command that ends with it."""

import json

import pytest

from hamid.core.exits import Exit

CHECK = "version: v1\nmig-configs: {all: [{devices: all, mig-enabled: true, mig-devices: {1g.6gb: 4}}]}\n"


class OnNode:
    """A node, and hamictl on it."""

    def __init__(self, hamictl, state):
        self.hamictl, self.state = hamictl, state

    def __call__(self, *words):
        return self.hamictl.run("--sim", self.state, *words)


@pytest.fixture
def a30(hamictl, node):
    run = OnNode(hamictl, node("1xA30"))
    assert run("mig", "enable", "-i", "0", "--yes").exit_code == 0
    return run


def fault(hamictl, a30, rule):
    assert hamictl.run("sim", "inject", "fault", rule, "--state", a30.state).exit_code == 0


def failure(hamictl, a30, tmp_path):
    """The driver fails."""
    fault(hamictl, a30, "nvmlDeviceCreateGpuInstance*=error:999")
    return a30("mig", "apply", "--layout", "0=1g.6gb", "--yes")


def usage(hamictl, a30, tmp_path):
    """A wrong argument."""
    return a30("mig", "apply", "--layout", "0=9g.9gb", "--yes")


def differs(hamictl, a30, tmp_path):
    """A check that finds a difference."""
    file = tmp_path / "wanted.yaml"
    file.write_text(CHECK)
    return a30("mig", "check", "-f", file)


def not_permitted(hamictl, a30, tmp_path):
    """The driver refuses the caller."""
    fault(hamictl, a30, "nvmlDeviceCreateGpuInstance*=error:4")
    return a30("mig", "apply", "--layout", "0=1g.6gb", "--yes")


def no_daemon(hamictl, a30, tmp_path):
    """No hamid serves the node."""
    return a30("config", "diff")


def no_driver(hamictl, a30, tmp_path):
    """The kernel driver is not loaded."""
    assert hamictl.run("sim", "inject", "set", "driver", "absent", "--state", a30.state).exit_code == 0
    return a30("gpu", "list")


def busy(hamictl, a30, tmp_path):
    """What would go is in use."""
    assert a30("mig", "apply", "--mem", "6000", "--name", "job", "--yes").exit_code == 0
    return a30("mig", "clear", "-i", "0", "--yes")


def no_fit(hamictl, a30, tmp_path):
    """No GPU is that large."""
    return a30("mig", "plan", "--mem", "99999")


def partial(hamictl, a30, tmp_path):
    """Only a part of what was claimed comes back."""
    assert a30("mig", "apply", "--mem", "6000", "--count", "2", "--name", "job", "--yes").exit_code == 0
    assert hamictl.run("sim", "inject", "reboot", "--state", a30.state).exit_code == 0
    fault(hamictl, a30, "nvmlDeviceCreateGpuInstanceWithPlacement#2=error:23")
    return a30("mig", "restore", "--yes")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (failure, Exit.FAILURE),
        (usage, Exit.USAGE),
        (differs, Exit.PENDING),
        (not_permitted, Exit.NOT_PERMITTED),
        (no_daemon, Exit.DAEMON),
        (no_driver, Exit.NO_DRIVER),
        (busy, Exit.REFUSED),
        (no_fit, Exit.NO_FIT),
        (partial, Exit.PARTIAL),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(int(value)),
)
def test_each_row_has_a_command_that_ends_with_it(hamictl, a30, tmp_path, command, code):
    """The exit code is the row's, and stderr or stdout says why."""
    result = command(hamictl, a30, tmp_path)
    assert result.exit_code == code, result.output
    assert result.output.strip()


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("mig", "apply", "--layout", "0=9g.9gb", "--yes"), Exit.USAGE, "Error"),
        (("mig", "plan", "--mem", "99999"), Exit.NO_FIT, "MigPlan"),
        (("gpu", "show", "9"), Exit.USAGE, "Error"),
        (("mig", "release", "--name", "nobody", "--yes"), Exit.USAGE, "Error"),
    ],
)
def test_what_fails_is_a_document_too(a30, words, code, kind):
    """With -o json stdout is one document for every exit code."""
    result = a30(*words, "-o", "json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["kind"] == kind
