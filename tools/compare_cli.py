# SPDX-License-Identifier: Apache-2.0
"""Compares what two versions of hamictl answer to every command of their own tests.

    python tools/compare_cli.py OLD NEW [TEST...]

OLD and NEW are checkouts with an installed `.venv`; the tests are tests/cli by default. Each checkout runs its tests
with this file as a pytest plugin, which records every call of hamictl: arguments, exit code, stdout and stderr. The
calls of equally named tests are compared in order, with times, pids, paths, UUIDs, fingerprints and hints masked.
Exit code 1 when an answer differs. What a test times or draws at random (an interrupt, a property's examples) can
differ without a cause in hamictl; a second run tells.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from typer.testing import CliRunner, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer import Typer

FOLDER = "HAMICTL_RECORD"
PROGRAM = "hamictl"
_MASKS = (
    (re.compile(r'("hint": )"(?:[^"\\]|\\.)*"'), r'\1"HINT"'),
    (re.compile(r"(?m)^( *hint: ).*$"), r"\1HINT"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"(?m)^\[\d+/(\d+)\] (.*) \(\d+\.\d s\)$"), r"[STEP/\1] \2 (SECONDS)"),
    (re.compile(r"\b(process|process stop) \d+\b"), r"\1 PID"),
    (re.compile(r"\b\d+ is no holder"), "PID is no holder"),
    (re.compile(r"\u2500+"), "RULE"),
    (re.compile(r"hamictl-sim-[0-9a-f]{16}"), "hamictl-sim-RANDOM"),
    (re.compile(r"operator-[0-9a-f]{6}"), "operator-RANDOM"),
    (re.compile(r"/tmp/pytest-of-\w+/pytest-\d+"), "TMP"),
    (re.compile(r"popen-gw\d+/"), ""),
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# GPUs are changed in parallel: the order in which they finish decides the lines' order and the instances' UUIDs.
_STEPS = re.compile(r"(?m)(?:^\[STEP/.*\n)+")
_FINGERPRINT = re.compile(r'"fingerprint": "[0-9a-f]{16}"')
_PIDS = re.compile(r'"pid": (\d+)|"ended": \[([\d,\s]+)\]|^(\d+)$', re.MULTILINE)


class Call(NamedTuple):
    """One call of hamictl and its answer."""

    test: str
    words: list[str]
    code: int
    out: str
    err: str


class Recorder:
    """A pytest plugin that writes a line for every call of hamictl: the test, its arguments and the answer."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._test = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember which test runs."""
        self._test = nodeid

    def note(self, words: Sequence[object], code: int, out: object, err: object) -> None:
        """Write one call; output that a test did not capture as text is left out."""
        told = (each if isinstance(each, str) else "" for each in (out, err))
        self._file.write(json.dumps(Call(self._test, [str(word) for word in words], code, *told)) + "\n")
        self._file.flush()


def pytest_configure(config: pytest.Config) -> None:
    """Record what hamictl answers within this process and as a process of its own."""
    recorder = Recorder(Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl")
    config.pluginmanager.register(recorder)
    invoke, run = CliRunner.invoke, subprocess.run

    # The recorder accepts all arguments that the tests pass on.
    def recorded_invoke(self: CliRunner, app: Typer, args: Sequence[str] = (), **options: Any) -> Result:
        result = invoke(self, app, args, **options)
        recorder.note(args, result.exit_code, result.stdout, result.stderr)
        return result

    def recorded_run(command: Any, *args: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        result: subprocess.CompletedProcess[str] = run(command, *args, **options)
        if isinstance(command, list) and Path(command[0]).name == PROGRAM:
            recorder.note(command[1:], result.returncode, result.stdout, result.stderr)
        return result

    patch = pytest.MonkeyPatch()
    patch.setattr(CliRunner, "invoke", recorded_invoke)
    patch.setattr(subprocess, "run", recorded_run)


def record(checkout: Path, tests: list[str]) -> dict[str, list[str]]:
    """Run a checkout's tests; for each test the masked calls in order."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(checkout / ".venv/bin/python"), "-m", "pytest", "-q", "-p", "compare_cli", *tests]
        command += ["-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        environment = {**os.environ, FOLDER: folder, "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        print(f"{checkout}: {done.stdout.splitlines()[-1] if done.stdout else done.stderr}")
        calls: defaultdict[str, list[Call]] = defaultdict(list)
        for file in sorted(Path(folder).iterdir()):
            for line in file.read_text(encoding="utf-8").splitlines():
                call = Call(*json.loads(line))
                calls[call.test].append(call)
    return {test: masked(found, checkout) for test, found in calls.items()}


def masked(calls: list[Call], checkout: Path) -> list[str]:
    """The calls of one test as text; what is random or depends on the place is replaced, equal values equally."""
    texts = [
        f"$ hamictl {' '.join(call.words)}\nexit code {call.code}\n{call.out}stderr:\n{call.err}" for call in calls
    ]
    pids = {pid for call in calls for found in _PIDS.findall(call.out) for pid in re.findall(r"\d+", " ".join(found))}
    names: dict[str, str] = {}
    return [_masked(text.replace(str(checkout), "CHECKOUT"), pids, names) for text in texts]


def _masked(text: str, pids: set[str], names: dict[str, str]) -> str:
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    text = _STEPS.sub(lambda found: "".join(sorted(found[0].splitlines(keepends=True))), text)
    text = _FINGERPRINT.sub(lambda found: names.setdefault(found[0], f'"fingerprint": "{len(names)}"'), text)
    text = _UUID.sub(lambda found: names.setdefault(found[0], f"UUID{len(names)}"), text)
    return re.sub(r"\b\d+\b", lambda found: "PID" if found[0] in pids else found[0], text)


def differences(old: dict[str, list[str]], new: dict[str, list[str]]) -> list[str]:
    """A line for every test of one side alone, and a diff for every call that is answered differently."""
    found = [f"only in OLD: {test}" for test in sorted(old.keys() - new.keys())]
    found += [f"only in NEW: {test}" for test in sorted(new.keys() - old.keys())]
    for test in sorted(old.keys() & new.keys()):
        if len(old[test]) != len(new[test]):
            found.append(f"{test}: {len(old[test])} calls in OLD, {len(new[test])} in NEW")
        for before, after in zip(old[test], new[test], strict=False):
            if before != after:
                lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "OLD", "NEW", lineterm="", n=1)
                found.append("\n".join([test, *lines]))
    return found


def main() -> int:
    """Record both checkouts and print what differs."""
    old, new = (Path(each).resolve() for each in sys.argv[1:3])
    tests = sys.argv[3:] or ["tests/cli"]
    before, after = record(old, tests), record(new, tests)
    found = differences(before, after)
    print("\n".join(found))
    shared = before.keys() & after.keys()
    calls = [call for test in shared for call in after[test]]
    codes = Counter(call.splitlines()[1] for call in calls)
    print(f"{len(calls)} calls in {len(shared)} tests, {len(found)} differences; {dict(sorted(codes.items()))}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
