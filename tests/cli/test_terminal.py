# SPDX-License-Identifier: Apache-2.0
"""What a person at a terminal meets: the question, its answers, progress, and ^C."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.waiting import is_blocked_in, until

from hamid.core.exits import Exit

PROGRAM = str(Path(sys.executable).with_name("hamictl"))
WAIT_SECONDS = 20


class Terminal:
    """hamictl on a pseudo-terminal of its own."""

    def __init__(self, *words):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execv(PROGRAM, [PROGRAM, *map(str, words)])
        self.text = ""

    def expect(self, wanted):
        """Read until this text has appeared."""
        end = time.monotonic() + WAIT_SECONDS
        while wanted not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += self._read()

    def send(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        """The exit code, once everything is read."""
        while chunk := self._read():
            self.text += chunk
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self):
        try:
            return os.read(self.master, 65536).decode(errors="replace")
        except OSError:
            return ""


@pytest.fixture
def a30(hamictl, node):
    state = node("1xA30")
    assert hamictl.run("--sim", state, "mig", "enable", "-i", "0", "--yes").exit_code == 0
    return state


def layout(hamictl, state):
    return [each["profile"] for each in hamictl.document("--sim", state, "mig", "list")["instances"]]


@pytest.mark.parametrize(
    ("keys", "code", "profiles"),
    [
        ("y\n", Exit.OK, ["4g.24gb"]),
        ("n\n", Exit.FAILURE, []),
        ("\n", Exit.FAILURE, []),
        ("perhaps\nn\n", Exit.FAILURE, []),
        ("\x04", Exit.FAILURE, []),
        ("\x03", Exit.INTERRUPTED, []),
    ],
    ids=["yes", "no", "enter", "perhaps", "end of file", "interrupt"],
)
def test_only_a_yes_changes_anything(hamictl, a30, keys, code, profiles):
    """The plan is shown and the question asked; each answer has its exit code."""
    terminal = Terminal("--sim", a30, "mig", "apply", "--layout", "0=4g.24gb")
    terminal.expect("Apply this plan?")
    assert "+ create" in terminal.text
    terminal.send(keys)
    assert terminal.end() == code, terminal.text
    assert "Traceback" not in terminal.text
    assert layout(hamictl, a30) == profiles


def test_on_a_terminal_each_step_is_shown_as_it_begins(a30):
    """A person sees what is going on, then how long it took."""
    terminal = Terminal("--sim", a30, "mig", "apply", "--layout", "0=2g.12gb*2", "--yes")
    assert terminal.end() == Exit.OK
    assert terminal.text.count(" ...") == 2
    assert "[2/2]" in terminal.text


def test_elsewhere_there_is_one_line_a_step(process, a30):
    """In a log only what was done is a line, without colours or cursor movements."""
    result = process("--sim", a30, "mig", "apply", "--layout", "0=2g.12gb*2", "--yes")
    assert result.returncode == Exit.OK
    steps = [line for line in result.stderr.splitlines() if "/2]" in line]
    assert len(steps) == 2
    assert "..." not in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def slow(state, fault):
    """A hamictl that applies three instances on a driver with this fault."""
    environment = {**os.environ, "HAMI_SIM_FAULTS": f"nvmlDeviceCreateGpuInstance*={fault}"}
    command = [PROGRAM, "--sim", str(state), "mig", "apply", "--layout", "0=1g.6gb*3", "--yes"]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_the_first_interrupt_stops_after_the_current_step(hamictl, a30):
    """Exit code 130; what is done stays, nothing is half-made, and nothing is left for a repair."""
    with slow(a30, "latency:400") as running:
        line = running.stderr.readline()
        assert "[1/3]" in line
        running.send_signal(signal.SIGINT)
        running.wait(WAIT_SECONDS)
    assert running.returncode == Exit.INTERRUPTED
    assert 1 <= len(layout(hamictl, a30)) < 3
    assert hamictl.document("--sim", a30, "mig", "repair", "--dry-run")["findings"] == []


def test_the_second_interrupt_ends_at_once_and_the_next_command_cleans_up(hamictl, a30):
    """Exit code 130 although the driver never comes back; repair shows the interrupted change and ends it."""
    with slow(a30, "hang") as running:
        until(lambda: is_blocked_in("pause", running.pid))
        running.send_signal(signal.SIGINT)
        while "press ^C again" not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        running.wait(WAIT_SECONDS)
    assert running.returncode == Exit.INTERRUPTED
    assert hamictl.run("--sim", a30, "mig", "repair", "--yes").exit_code == 0
    assert hamictl.document("--sim", a30, "mig", "repair", "--dry-run")["findings"] == []
    assert layout(hamictl, a30) == []


AT_THE_NTH_CALL = """
import signal, sys
from hamictl import entry
left = int(sys.argv.pop(1))
def count(frame, event, argument):
    global left
    left -= event == "call"
    if left == 0:
        signal.raise_signal(signal.SIGINT)
sys.setprofile(count)
entry.main()
"""


@pytest.mark.parametrize("call", [60, 900, 2500, 4000, 6500, 9000, 14000, 20000, 28000, 40000])
def test_an_interrupt_at_any_call_is_exit_code_130(a30, call):
    """From the first import to the last line: no traceback, and at most one document for who asked for JSON."""
    words = [
        sys.executable,
        "-P",
        "-c",
        AT_THE_NTH_CALL,
        call,
        "--sim",
        a30,
        "mig",
        "repair",
        "--dry-run",
        "-o",
        "json",
    ]
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert ended.returncode == Exit.INTERRUPTED, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout or json.loads(ended.stdout)["kind"] == "Error"


IN_A_CALLBACK = """
import signal, sys
from hamictl import entry
def find(frame, event, argument):
    if event == "call" and frame.f_code.co_name == "cb" and "importlib" in frame.f_code.co_filename:
        sys.setprofile(None)
        print("found", file=sys.stderr)
        signal.raise_signal(signal.SIGINT)
sys.setprofile(find)
entry.main()
"""


def test_an_interrupt_is_not_lost_in_a_callback(a30):
    """Python drops what is raised in a weakref's callback, as importlib has them; ^C there is exit code 130 too."""
    words = [sys.executable, "-P", "-c", IN_A_CALLBACK, "--sim", a30, "mig", "repair", "--dry-run"]
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert "found" in ended.stderr
    assert ended.returncode == Exit.INTERRUPTED, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_interrupt_does_not_wait_for_a_driver_that_hangs(a30):
    """^C while the driver starts ends the command at once, although nvmlInit never comes back."""
    environment = {**os.environ, "HAMI_SIM_FAULTS": "nvmlInit*=hang"}
    words = [PROGRAM, "--sim", str(a30), "mig", "repair", "--dry-run"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as running:
        until(lambda: is_blocked_in("pause", running.pid))
        running.send_signal(signal.SIGINT)
        try:
            running.wait(WAIT_SECONDS)
        finally:
            running.kill()
    assert running.returncode == Exit.INTERRUPTED
