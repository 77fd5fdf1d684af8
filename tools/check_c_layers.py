# SPDX-License-Identifier: Apache-2.0
"""Checks that the includes of the C sources point downwards, between folders and between files.

Prints one line per finding, `path:line: what`, and exits 1 if there is any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

NATIVE = Path("native")
# From below: each folder, and the other folders that its files may include. It may name only those above it here.
FOLDERS = {
    "include": (),
    "libvgpu": ("include",),
    "libvgpu/region": ("libvgpu",),
    "libvgpu/memory": ("libvgpu/region", "libvgpu", "include"),
    "libvgpu/hooks": ("libvgpu/memory", "libvgpu/region", "libvgpu", "include"),
    "simulator/node": ("include",),
    "simulator/nvml": ("simulator/node", "include"),
    "simulator/nvml/api": ("simulator/nvml", "simulator/node", "include"),
    "simulator/control": ("simulator/nvml", "simulator/node", "include"),
    "simulator/cuda": ("simulator/node", "include"),
    "simulator/cuda/api": ("simulator/cuda", "simulator/node", "include"),
    "simulator/tests": ("simulator/control", "include"),
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def includes(path: Path) -> Iterator[tuple[int, str]]:
    """The numbers of the lines that include a file of ours, and the names that stand there."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = INCLUDE.match(line)
        # In angle brackets a file of ours is found too, since the library's folder is on the path.
        if found and (found[1] == '"' or target_of(path, found[2]) is not None):
            yield number, found[2]


def target_of(path: Path, name: str) -> Path | None:
    """The file that an include means: relative to the library's folder or to native/include; None if there is none."""
    library = NATIVE / path.relative_to(NATIVE).parts[0]
    candidates = (library / name, NATIVE / "include" / name)
    return next((each.relative_to(NATIVE) for each in candidates if each.is_file()), None)


def order_findings() -> Iterator[str]:
    """Folders of the table that name a folder that is not above them in the table."""
    known: set[str] = set()
    for folder, below in FOLDERS.items():
        yield from (f"{Path(__file__).name}:1: {folder} names {each} too early" for each in below if each not in known)
        known.add(folder)


def findings() -> Iterator[str]:
    """Includes that point upwards, or around in a circle of files. A source and its header are one file here."""
    graph: dict[Path, set[Path]] = {}
    for path in sorted((*NATIVE.rglob("*.c"), *NATIVE.rglob("*.h"))):
        here = path.relative_to(NATIVE)
        folder = here.parent.as_posix()
        if folder not in FOLDERS:
            yield f"{path}:1: folder {folder} is not in the order of tools/check_c_layers.py"
            continue
        for number, name in includes(path):
            target = target_of(path, name)
            if target is None:
                yield f'{path}:{number}: no file "{name}": write the path from the library\'s folder'
                continue
            there = target.parent.as_posix()
            if there not in (folder, *FOLDERS[folder]):
                yield f"{path}:{number}: {folder} must not include {there}"
            if target.with_suffix("") != here.with_suffix(""):
                graph.setdefault(here.with_suffix(""), set()).add(target.with_suffix(""))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"{NATIVE / error.args[1][0]}:1: circle of includes: {' <- '.join(map(str, error.args[1]))}"


def main() -> int:
    """Print every finding; 1 if there is one."""
    found = [*order_findings(), *findings()]
    print("\n".join(found) if found else "C layers: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
