# SPDX-License-Identifier: Apache-2.0
"""Holds what no linter holds: sizes of files and functions, SPDX lines, left-over marks, docstrings of tests.

Prints one line per finding, `path:line: what`, and exits 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_LINES = 400
FUNCTION_LINES = 40
SOURCE_SUFFIXES = {".py", ".c", ".h", ".sh"}
# Spelled in halves so that this file does not find itself.
LEFTOVER = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"]) + r")\b")


def tracked_sources() -> list[Path]:
    """Source files that git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [Path(line) for line in listing.splitlines()]
    return [path for path in paths if path.suffix in SOURCE_SUFFIXES and path.is_file() and "_pb2" not in path.name]


def python_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function definition in a module, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def python_findings(path: Path, text: str) -> Iterator[str]:
    """Functions that are too long, and tests that do not say what they prove."""
    for node in python_functions(ast.parse(text)):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_LINES:
            yield f"{path}:{node.lineno}: function {node.name} has {length} lines, at most {FUNCTION_LINES}"
        if path.parts[0] == "tests" and node.name.startswith("test_") and not ast.get_docstring(node):
            yield f"{path}:{node.lineno}: {node.name} has no docstring that says what it proves"


def c_findings(path: Path, text: str) -> Iterator[str]:
    """C functions that are too long; a body is what stands between `{` and `}` in the first column."""
    start: int | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("{") or (line.rstrip().endswith(") {") and line[:1].isalpha()):
            start = number
        elif line.startswith("}") and start is not None:
            if number - start + 1 > FUNCTION_LINES:
                yield f"{path}:{start}: function has {number - start + 1} lines, at most {FUNCTION_LINES}"
            start = None


def findings(path: Path) -> Iterator[str]:
    """All findings of one file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if len(lines) > FILE_LINES:
        yield f"{path}:1: file has {len(lines)} lines, at most {FILE_LINES}"
    if text.strip() and not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        yield f"{path}:1: no SPDX licence line"
    for number, line in enumerate(lines, 1):
        if LEFTOVER.search(line):
            yield f"{path}:{number}: left-over mark: {line.strip()[:80]}"
    if path.suffix == ".py":
        yield from python_findings(path, text)
    if path.suffix in {".c", ".h"}:
        yield from c_findings(path, text)


def main() -> int:
    """Print every finding; 1 if there is one."""
    found = [line for path in tracked_sources() for line in findings(path)]
    print("\n".join(found) if found else "style: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
