# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md is a real session: each command in it is run again, in order, and answers as the page says."""

import os
import re

import pytest
from support import REPOSITORY

PAGE = (REPOSITORY / "docs" / "operations.md").read_text()
SESSION = re.compile(r"^## (?P<title>.*)$|^```\n\$ (?P<command>.*)\n(?P<answer>[\s\S]*?)^```$", re.MULTILINE)
# What happens on the node between two sections and is told in words.
BETWEEN = {
    "When a driver call fails": (
        ("mig", "clear", "-i", "0", "--yes"),
        ("sim", "inject", "fault", "nvmlDeviceCreateGpuInstance*#2=error:23"),
    ),
    "When the process dies": (("sim", "inject", "clear"),),
    "After a reboot": (
        ("mig", "apply", "--mem", "8000", "--name", "training", "--yes"),
        ("sim", "inject", "reboot"),
    ),
}


def lines(text):
    """The lines in any order, stdout and stderr being two, without times, pids and what depends on the screen."""
    text = re.sub(r"\(exit code [0-9]+\)\n|\([0-9]+\.[0-9] s\)|process [0-9]+ \(.*?--yes\)", "", text)
    return sorted(re.sub(r"[ \t─]+", " ", line).strip() for line in text.splitlines() if line.strip())


@pytest.fixture
def folder(process, tmp_path):
    """A folder with the page's node in it."""
    assert process("sim", "up", "--state", "node", "--node", "1xA100-SXM4-40GB", cwd=tmp_path).returncode == 0
    yield tmp_path
    process("sim", "down", "--state", "node", cwd=tmp_path)


def test_the_session_of_the_page_is_real(process, folder):
    """plan, apply, check, export, repair and restore answer word for word, with the exit codes that are shown."""
    tried = 0
    for found in SESSION.finditer(PAGE):
        for words in BETWEEN.get(found["title"], ()):
            assert process("--sim", "node", *words, cwd=folder).returncode == 0
        if found["command"]:
            tried += answer(process, folder, found["command"].split(), found["answer"])
    assert tried == 19


def answer(process, folder, command, wanted):
    """Run one command of the page; 1 for one of ours."""
    program, *words = command
    if program == "cat":
        (folder / words[0]).write_text(wanted)
        return 0
    setting = [words.pop(0) for _ in range(2)] if program == "env" else []
    environment = {**os.environ, **dict(word.split("=", 1) for word in setting if "=" in word)}
    result = process(*words, cwd=folder, env=environment)
    code = re.search(r"\(exit code ([0-9]+)\)", wanted)
    # A shell says 128 and the signal's number.
    shown = 128 - result.returncode if result.returncode < 0 else result.returncode
    assert shown == (int(code[1]) if code else 0), command
    assert lines(result.stdout + result.stderr) == lines(wanted), command
    return 1
