# SPDX-License-Identifier: Apache-2.0
"""Lists where every file of an earlier commit is now: `python tools/moved_paths.py COMMIT`.

One line a file: `OLD -> NEW`, `OLD = stays` or `OLD - deleted`. git pairs a moved file with its new path when the two
are at least 40 % alike, so a file whose content went to several others is listed as deleted. The last line, on stderr,
has the totals. Exit code 1 when git does not know the commit, 2 for wrong usage.
"""

from __future__ import annotations

import subprocess
import sys

SIMILARITY = "-M40%"
USAGE = 2


def git(*words: str) -> list[str]:
    """The fields of a git command that separates them by NUL; raises CalledProcessError."""
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def moves(commit: str) -> dict[str, str | None]:
    """The new path of each file that was moved or deleted since the commit; None for a deleted one."""
    fields = iter(git("diff", "-z", SIMILARITY, "--name-status", "--diff-filter=RD", commit, "HEAD"))
    found: dict[str, str | None] = {}
    for status in fields:
        old = next(fields)
        found[old] = next(fields) if status.startswith("R") else None
    return found


def main(words: list[str]) -> int:
    """Print the list; the exit code."""
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return USAGE
    try:
        before, changed = git("ls-tree", "-r", "-z", "--name-only", "--full-tree", words[0]), moves(words[0])
    except subprocess.CalledProcessError as error:
        print(f"moved_paths: {error.stderr.strip()}", file=sys.stderr)
        return 1
    for old in before:
        new = changed.get(old, old)
        print(f"{old} - deleted" if new is None else f"{old} = stays" if new == old else f"{old} -> {new}")
    deleted = sum(new is None for new in changed.values())
    counts = (
        f"{len(before)} files: {len(changed) - deleted} moved, {deleted} deleted, {len(before) - len(changed)} stay"
    )
    print(counts, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
