# SPDX-License-Identifier: Apache-2.0
"""Holds what no linter holds: sizes, SPDX lines, left-over marks, docstrings of tests, one meaning per class name.

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
    from collections.abc import Iterable, Iterator

FILE_LINES = 400
FUNCTION_LINES = 40
SOURCE_SUFFIXES = {".py", ".c", ".h", ".sh"}
# Within these a class name has one meaning, with or without a leading underscore.
PACKAGES = {"hamid", "hamictl"}
TYPE_NAME = re.compile(r"_*[A-Z]\w*[a-z]\w*")
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


def type_definitions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names and lines of a module's classes, and of its aliases of types, but not of type variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, node.lineno
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if TYPE_NAME.fullmatch(name):
                if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "TypeVar"):
                    yield name, node.lineno


def name_findings(paths: Iterable[Path]) -> Iterator[str]:
    """Class names that are defined a second time in hamid and hamictl."""
    first: dict[str, str] = {}
    for path in paths:
        if path.suffix == ".py" and path.parts[0] in PACKAGES:
            for name, line in type_definitions(ast.parse(path.read_text(encoding="utf-8"))):
                where = first.setdefault(name.lstrip("_"), f"{path}:{line}")
                if where != f"{path}:{line}":
                    yield f"{path}:{line}: the name {name} is taken by {where}"


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
    sources = tracked_sources()
    found = [*(line for path in sources for line in findings(path)), *name_findings(sources)]
    print("\n".join(found) if found else "style: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
