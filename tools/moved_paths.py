# SPDX-License-Identifier: Apache-2.0
"""Lists where every file of an earlier commit is now: `python tools/moved_paths.py COMMIT`.

One line a file: `OLD -> NEW`, `OLD = stays` or `OLD - deleted`. Each commit since then is asked for its renames, and a
renamed file is followed through them. git pairs two paths that are at least 40 % alike within one commit, so a file
whose content went to several others is listed as deleted. The last line, on stderr, has the totals. Exit code 1 when
git does not know the commit, 2 for wrong usage.
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


def renames(commit: str) -> dict[str, str]:
    """The new path of each path that the commit renames."""
    fields = iter(
        git("diff-tree", "-r", "-z", SIMILARITY, "--no-commit-id", "--name-status", "--diff-filter=R", commit)
    )
    return {next(fields): next(fields) for _status in fields}


def follow(before: list[str], since: str) -> dict[str, str | None]:
    """Where each file is now; None for one that is gone. Merges are left out: their branches have the renames."""
    now = dict(zip(before, before, strict=True))
    commits = subprocess.run(
        ["git", "rev-list", "--reverse", "--topo-order", "--no-merges", f"{since}..HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for commit in commits:
        moved = renames(commit)
        if moved:
            now = {old: moved.get(path, path) for old, path in now.items()}
    there = set(git("ls-tree", "-r", "-z", "--name-only", "--full-tree", "HEAD"))
    return {old: path if path in there else None for old, path in now.items()}


def main(words: list[str]) -> int:
    """Print the list; the exit code."""
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return USAGE
    try:
        before = git("ls-tree", "-r", "-z", "--name-only", "--full-tree", words[0])
        now = follow(before, words[0])
    except subprocess.CalledProcessError as error:
        print(f"moved_paths: {error.stderr.strip()}", file=sys.stderr)
        return 1
    for old, new in now.items():
        print(f"{old} - deleted" if new is None else f"{old} = stays" if new == old else f"{old} -> {new}")
    deleted = sum(new is None for new in now.values())
    stay = sum(new == old for old, new in now.items())
    counts = f"{len(before)} files: {len(before) - deleted - stay} moved, {deleted} deleted, {stay} stay"
    print(counts, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
