# SPDX-License-Identifier: Apache-2.0
"""Proves that the tests hold the guarantees: `make mutants`, or `python tools/mutants.py [--some N] [NAME...]`.

A mutant changes one line of the product so that it breaks a guarantee of docs/architecture.md. tests/mutants/*.toml
list the mutants; each names the guarantee, the line, what replaces it, and the tests that must fail. The tests of all
chosen mutants must pass before any line is changed. Prints one line a mutant. `--some N` takes N of them, other ones
for each commit.

Exit code 0 when every mutant was caught, 1 when one survived or its tests could not run, 2 for a wrong name or list.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "tests" / "mutants"
WORK = ROOT / "build" / "mutants"
TREE = WORK / "tree"
# The C build reads files beside native/ too.
SOURCES = WORK / "sources"
BESIDE_NATIVE = ("hamid", "pyproject.toml", "systemd")
PYTHON = ROOT / "build" / "wheel-env" / "bin" / "python"
PACKAGES = ("hamid", "hamictl")
LIMIT_SECONDS = 300
UNCHANGED_SECONDS = 1800
# pytest: tests ran and some failed. Every other code but 0 says that they did not run.
FAILED = 1


class WrongListError(Exception):
    """The list of mutants, or a name on the command line, is wrong."""


@dataclass(frozen=True)
class Mutant:
    """One changed line, and what must notice it."""

    name: str
    guarantee: str
    file: str
    line: str
    becomes: str
    tests: tuple[str, ...]

    @property
    def native(self) -> bool:
        """True for C, which has to be compiled."""
        return self.file.startswith("native/")

    def applied(self) -> str:
        """The whole file with the line changed; raises WrongListError unless the line is there exactly once."""
        text = (ROOT / self.file).read_text()
        if text.count(self.line) != 1:
            raise WrongListError(
                f"{self.name}: {self.file} has the line {text.count(self.line)} times: {self.line.strip()}"
            )
        return text.replace(self.line, self.becomes)


def read_lists() -> list[Mutant]:
    """Every mutant, in the order of the files and of their entries."""
    found: list[Mutant] = []
    for path in sorted(LISTS.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["mutant"]:
            try:
                found.append(Mutant(**{**entry, "tests": tuple(entry["tests"])}))
            except (KeyError, TypeError) as error:
                raise WrongListError(f"{path.relative_to(ROOT)}: {error}") from error
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise WrongListError(f"two mutants are called {name}")
    return found


def choose(mutants: list[Mutant], names: list[str], some: int | None) -> list[Mutant]:
    """Those with these names, or some, or all."""
    unknown = set(names) - {each.name for each in mutants}
    if unknown:
        raise WrongListError(f"there is no mutant {', '.join(sorted(unknown))}")
    if names:
        return [each for each in mutants if each.name in names]
    if some is None:
        return mutants
    count = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    begin = int(count) * some % len(mutants)
    return (mutants[begin:] + mutants[:begin])[:some]


def make_tree() -> None:
    """A copy of the packages, whose libraries are those of the wheel's tests."""
    shutil.rmtree(TREE, ignore_errors=True)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "_native")
        shutil.copytree(ROOT / package, TREE / package, ignore=ignored)
    put_native(installed_native())


def make_sources() -> None:
    """A copy of the C sources, in which unchanged files keep their times for ninja."""
    SOURCES.mkdir(exist_ok=True)
    for name in BESIDE_NATIVE:
        if not (SOURCES / name).is_symlink():
            (SOURCES / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "native", SOURCES / "native", dirs_exist_ok=True)


def installed_native() -> Path:
    """The libraries of the installed wheel."""
    code = "import hamid, pathlib; print(pathlib.Path(hamid.__file__).parent / '_native')"
    done = subprocess.run([PYTHON, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=WORK)
    return Path(done.stdout.strip())


def put_native(folder: Path) -> None:
    """The tree has these libraries from now on."""
    link = TREE / "hamid" / "_native"
    link.unlink(missing_ok=True)
    link.symlink_to(folder)


def compile_native() -> Path:
    """Build the copy of the C sources and install the libraries; ninja compiles what changed."""
    build, installed = WORK / "build", WORK / "installed"
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    for words in (
        ["cmake", "-S", SOURCES / "native", "-B", build, "-G", "Ninja", "--log-level=WARNING"],
        ["cmake", "--build", build, "--", "--quiet"],
        ["cmake", "--install", build, "--prefix", installed],
    ):
        done = subprocess.run(
            list(map(str, words)),
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise WrongListError(f"a mutant does not compile:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return installed


def run_tests(tests: list[str], *more: str, seconds: float = LIMIT_SECONDS) -> tuple[int, str]:
    """Exit code and output of these tests on the tree; raises TimeoutExpired when they do not end.

    The current directory is what Python imports first, in this process and, by PYTHONPATH, in its children.
    """
    nodes = [str(ROOT / each) for each in tests]
    words = [
        PYTHON,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-c",
        ROOT / "pyproject.toml",
    ]
    environment = {**os.environ, "PYTHONPATH": str(TREE), "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
    if (SOURCES / "native").exists():
        environment["HAMI_TEST_NATIVE"] = str(SOURCES / "native")
    command = [*map(str, words), *more, "--rootdir", str(ROOT), *nodes]
    with subprocess.Popen(
        command,
        cwd=TREE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            output, _ = running.communicate(timeout=seconds)
        finally:
            # What a mutant left behind, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    return running.returncode, output


def try_mutant(mutant: Mutant) -> str:
    """The test that caught it, or nothing when it survived; raises WrongListError when the tests could not run."""
    target = (SOURCES if mutant.native else TREE) / mutant.file
    target.write_text(mutant.applied())
    try:
        if mutant.native:
            put_native(compile_native())
        code, output = run_tests(list(mutant.tests))
    except subprocess.TimeoutExpired:
        return f"{mutant.tests[0]}: did not end in {LIMIT_SECONDS} s"
    finally:
        shutil.copyfile(ROOT / mutant.file, target)  # with a new time, so that ninja compiles it again
        if mutant.native:
            put_native(installed_native())
    if code not in {0, FAILED}:
        raise WrongListError(f"{mutant.name}: its tests did not run:\n{output[-4000:]}")
    failed = [line for line in output.splitlines() if line.startswith("FAILED ")]
    return failed[0].removeprefix("FAILED ").partition(" - ")[0] if failed else ""


def try_all(mutants: list[Mutant]) -> int:
    """Try them one after the other; how many were not caught."""
    survivors = 0
    for mutant in mutants:
        began = time.monotonic()
        caught = try_mutant(mutant)
        survivors += not caught
        seconds = f"{time.monotonic() - began:.1f} s"
        what = f"caught by {caught.rpartition('/')[2]}" if caught else "SURVIVED"
        print(f"{mutant.guarantee:<22} {mutant.name:<32} {what} ({seconds})", flush=True)
    return survivors


def check_unchanged(mutants: list[Mutant]) -> None:
    """Raises WrongListError unless the tests pass on the product as it is."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    code, output = run_tests(tests, "-n", "2", seconds=UNCHANGED_SECONDS)
    if code:
        raise WrongListError(f"these tests fail without any mutant:\n{output[-4000:]}")
    print(f"{len(tests)} tests or files of tests pass without a mutant: {output.splitlines()[-1]}", flush=True)


def main() -> int:
    """Try the mutants that the command line names; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; default: all")
    parser.add_argument("--some", type=int, metavar="N", help="try N mutants, other ones for each commit")
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    words = parser.parse_args()
    try:
        every = read_lists()
        for each in every:
            each.applied()
        mutants = choose(every, words.names, words.some)
        if words.list:
            for each in mutants:
                print(f"{each.guarantee:<22} {each.name:<32} {each.file}")
            return 0
        WORK.mkdir(parents=True, exist_ok=True)
        make_tree()
        if any(each.native for each in mutants):
            make_sources()
        check_unchanged(mutants)
        survivors = try_all(mutants)
    except WrongListError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
