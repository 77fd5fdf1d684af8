# SPDX-License-Identifier: Apache-2.0
"""Checks the words of the repository and the subjects of its commits: `python tools/check_words.py`.

tools/words.txt lists words that no file uses, with what to write instead. A word alone in quotes is exempt:
a JSON key, an enum's value, a name. A commit after the one that added this file has a subject of at most
72 characters.

Exit code 0 when all is well, 1 when something was found, 2 when git does not answer.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = "tools/words.txt"
SUFFIXES = {".c", ".h", ".md", ".py", ".sh", ".toml", ".service", ".conf", ".def"}
LONGEST = 72
# A word alone in quotes: a JSON key, an enum's value, a name in a test.
QUOTED = re.compile(r"""(["'`])[\w-]+\1""")


def git(*words: str) -> str:
    """The output of a git command; raises CalledProcessError."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def read_words() -> list[tuple[re.Pattern[str], str]]:
    """Each word as a pattern, and what to write instead."""
    found = []
    for line in (ROOT / LIST).read_text().splitlines():
        if line and not line.startswith("#"):
            word, _, instead = line.partition("  ")
            found.append((re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE), instead.strip()))
    return found


def find_words() -> list[str]:
    """Every use of a word on the list, with its place."""
    words, found = read_words(), []
    for name in git("ls-files", "-z").split("\0"):
        if Path(name).suffix not in SUFFIXES or not (ROOT / name).is_file():
            continue
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            prose = QUOTED.sub("", line)
            found += [
                f"{name}:{number}: '{match[0]}': {instead}" for word, instead in words for match in word.finditer(prose)
            ]
    return found


def find_subjects() -> list[str]:
    """Every subject that is too long, of the commits after the one that added this file."""
    added = git("log", "--diff-filter=A", "--format=%H", "--", "tools/check_words.py").split()
    if not added:
        return []
    commits = git("log", "--format=%h %s", f"{added[-1]}..HEAD").splitlines()
    return [
        f"commit {commit}: the subject has {len(subject)} characters, at most {LONGEST}"
        for commit, subject in (line.split(" ", 1) for line in commits)
        if len(subject) > LONGEST
    ]


def main() -> int:
    """Print what was found; the exit code."""
    try:
        found = [*find_words(), *find_subjects()]
    except subprocess.CalledProcessError as error:
        print(f"check_words: {error.stderr.strip()}", file=sys.stderr)
        return 2
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
