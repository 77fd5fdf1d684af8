# SPDX-License-Identifier: Apache-2.0
"""Derives lists for pip from pyproject.toml and constraints.txt; needs nothing but Python.

requirements.py pinned CONSTRAINTS EXTRA...   what the project and these extras need, pinned, with hashes
requirements.py oldest                        the run-time dependencies, each at its lower bound
requirements.py strays REQUIREMENTS           installed packages that a list does not name
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = re.compile(r"[A-Za-z0-9._-]+")
LOWER_BOUND = re.compile(r">=\s*([0-9.]+)")
# What a fresh environment has, and the project itself.
OWN = {"pip", "setuptools", "hami-node"}


class Pin(NamedTuple):
    """One package of constraints.txt: its lines for pip, and the packages that need it."""

    lines: str
    needed_by: frozenset[str]


def canonical(requirement: str) -> str:
    """The normalised name of the package in a requirement."""
    found = NAME.match(requirement.strip())
    if found is None:
        raise SystemExit(f"not a requirement: {requirement}")
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def dependencies(*extras: str) -> list[str]:
    """The requirements of pyproject.toml: the run-time ones and those of the extras."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]


def read_pins(file: str) -> dict[str, Pin]:
    """The packages of a file that pip-compile wrote, by name: unindented lines start one, `# via` says who needs it."""
    pins: dict[str, Pin] = {}
    for block in re.split(r"^(?=[A-Za-z0-9])", Path(file).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        lines = block.splitlines()
        comments = [line.strip("# ").removeprefix("via").strip() for line in lines if line.lstrip().startswith("#")]
        text = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
        pins[canonical(block)] = Pin(text, frozenset(canonical(comment) for comment in comments if comment))
    return pins


def pinned(file: str, *extras: str) -> list[str]:
    """The pins of the direct dependencies and of everything that they need."""
    pins = read_pins(file)
    wanted = {canonical(requirement) for requirement in dependencies(*extras)}
    if missing := wanted - pins.keys():
        raise SystemExit(f"{file} lacks {', '.join(sorted(missing))}: run make update")
    while more := {name for name, pin in pins.items() if pin.needed_by & wanted} - wanted:
        wanted |= more
    return [pins[name].lines for name in sorted(wanted)]


def oldest() -> list[str]:
    """`name==version` with the lower bound of each run-time dependency."""
    bounds = {requirement: LOWER_BOUND.search(requirement) for requirement in dependencies()}
    if unbound := [requirement for requirement, bound in bounds.items() if bound is None]:
        raise SystemExit(f"no lower bound: {', '.join(unbound)}")
    return [f"{canonical(requirement)}=={bound[1]}" for requirement, bound in bounds.items() if bound]


def strays(file: str) -> list[str]:
    """Installed packages that neither the list nor a fresh environment has."""
    installed = {canonical(each.metadata["Name"]) for each in importlib.metadata.distributions()}
    return sorted(installed - read_pins(file).keys() - OWN)


COMMANDS: dict[str, Callable[..., list[str]]] = {"pinned": pinned, "oldest": oldest, "strays": strays}

if __name__ == "__main__":
    print("\n".join(COMMANDS[sys.argv[1]](*sys.argv[2:])))
