# SPDX-License-Identifier: Apache-2.0
"""What a person at a terminal meets: the question, its answers, progress, and ^C."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import LIMIT_SECONDS, is_blocked_in, until

from hamid.core.exits import Exit

# A write to an unbuffered stream may be entered again by a signal handler; a person's stream is buffered.
BUFFERED = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
PROGRAM = str(Path(sys.executable).with_name("hamictl"))


class Terminal:
    """hamictl on a pseudo-terminal of its own."""

    def __init__(self, *words):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execv(PROGRAM, [PROGRAM, *map(str, words)])
        self.text = ""

    def expect(self, wanted):
        """Read until this text has appeared."""
        while wanted not in self.text:
            assert select.select([self.master], [], [], LIMIT_SECONDS)[0], self.text
            chunk = self._read()
            assert chunk, self.text
            self.text += chunk

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


def applying(state, stderr, **environment):
    """A hamictl that makes three instances."""
    command = [PROGRAM, "--sim", str(state), "mig", "apply", "--layout", "0=1g.6gb*3", "--yes"]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env={**BUFFERED, **environment}
    )


class FullPipe:
    """A pipe that is full: its writer is blocked until a reader comes."""

    def __enter__(self):
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"-" * 4096)
        os.set_blocking(self.writer, True)
        return self

    def read(self):
        """What was written, once no writer is left."""
        os.close(self.writer)
        with os.fdopen(self.reader) as reader:
            return reader.read().lstrip("-")

    def __exit__(self, *_):
        for each in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(each)


def test_the_first_interrupt_stops_after_the_current_step(hamictl, a30):
    """Exit code 130; the steps so far stay, nothing is half-made, and nothing is left for a repair."""
    with FullPipe() as stderr, applying(a30, stderr.writer) as running:
        # The line of the first step cannot be written, so the second cannot begin.
        until(lambda: is_blocked_in("write", running.pid))
        running.send_signal(signal.SIGINT)
        # The main thread says that it stops: from here on the step that waits is the last.
        until(lambda: is_blocked_in("write", running.pid, running.pid))
        text = stderr.read()
        running.wait(LIMIT_SECONDS)
    assert "[1/3]" in text
    assert "stopping after the current step" in text
    assert running.returncode == Exit.INTERRUPTED
    assert layout(hamictl, a30) == ["1g.6gb"]
    assert hamictl.document("--sim", a30, "mig", "repair", "--dry-run")["findings"] == []


def test_the_second_interrupt_ends_at_once_and_the_next_command_cleans_up(hamictl, a30):
    """Exit code 130 although the driver never comes back; repair shows the interrupted change and ends it."""
    hangs = "nvmlDeviceCreateGpuInstance*=hang"
    with applying(a30, subprocess.PIPE, HAMI_SIM_FAULTS=hangs) as running:
        until(lambda: is_blocked_in("pause", running.pid))
        running.send_signal(signal.SIGINT)
        while b"press ^C again" not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        running.wait(LIMIT_SECONDS)
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
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
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
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert "found" in ended.stderr
    assert ended.returncode == Exit.INTERRUPTED, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


A_SECOND_IN_A_CALLBACK = """
import signal, sys, weakref
from hamictl import entry
class Thing:
    pass
def twice(reference):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
def find(frame, event, argument):
    if event == "return" and frame.f_code.co_qualname == "FirstInterrupt.__enter__":
        sys.setprofile(None)
        reference = weakref.ref(Thing(), twice)
sys.setprofile(find)
entry.main()
"""


def test_a_second_interrupt_is_not_lost_in_a_callback(hamictl, a30):
    """The second ^C of a change ends it, also where Python drops what its handler raises."""
    words = [sys.executable, "-P", "-c", A_SECOND_IN_A_CALLBACK, "--sim", a30, "mig", "apply", "--yes"]
    words = [*words, "--layout", "0=1g.6gb*3"]
    hangs = {**os.environ, "HAMI_SIM_FAULTS": "nvmlDeviceCreateGpuInstance*=hang"}
    ended = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, env=hangs
    )
    assert "press ^C again" in ended.stderr
    assert ended.returncode == Exit.INTERRUPTED, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_interrupt_of_a_write_is_exit_code_130(a30):
    """^C while the terminal takes no more output: Python refuses a write within a write, so the handler makes none."""
    command = [PROGRAM, "--sim", str(a30), "mig", "apply", "--layout", "0=9g.99gb"]
    with FullPipe() as stderr, subprocess.Popen(command, stderr=stderr.writer, env=BUFFERED) as running:
        until(lambda: is_blocked_in("write", running.pid))
        running.send_signal(signal.SIGINT)
        text = stderr.read()
        running.wait(LIMIT_SECONDS)
    assert "Traceback" not in text
    assert running.returncode == Exit.INTERRUPTED, text


def test_an_interrupt_does_not_wait_for_a_driver_that_hangs(a30):
    """^C while the driver starts ends the command at once, although nvmlInit never comes back."""
    environment = {**os.environ, "HAMI_SIM_FAULTS": "nvmlInit*=hang"}
    words = [PROGRAM, "--sim", str(a30), "mig", "repair", "--dry-run"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as running:
        until(lambda: is_blocked_in("pause", running.pid))
        running.send_signal(signal.SIGINT)
        try:
            running.wait(LIMIT_SECONDS)
        finally:
            running.kill()
    assert running.returncode == Exit.INTERRUPTED
