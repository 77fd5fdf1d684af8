# SPDX-License-Identifier: Apache-2.0
"""Brings NVIDIA's own nvidia-smi as a client for tests: never installed, never committed.

The package comes from the machine's own Debian mirror, with the non-free component added in temporary apt lists, and
is unpacked below .cache/ (which git ignores). Where that is impossible the reason is a text, for a skip.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from support import REPOSITORY

CACHE = REPOSITORY / ".cache" / "nvidia-smi"
SUITES = ("bookworm", "trixie")
MIRROR = re.compile(r"^(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(\S+/debian/?)(?:\s|$)", re.MULTILINE)
SECONDS = 120


def mirrors() -> list[str]:
    """The Debian mirrors that this machine is set up with."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    return list(dict.fromkeys(MIRROR.findall(text)))


def apt_options(root: Path) -> list[str]:
    """Options that keep all of apt's state below `root`."""
    places = {
        "Dir::Etc::sourcelist": root / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": root / "lists",
        "Dir::Cache": root / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    return [argument for name, value in places.items() for argument in ("-o", f"{name}={value}")]


def run(command: list[str], where: Path) -> str:
    """What a command prints; its failure is a RuntimeError with the last line of its complaint."""
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip() or command[0]).splitlines()[-1])
    return done.stdout


def refresh_lists(root: Path) -> None:
    """Temporary apt lists of the non-free component of both suites."""
    found = mirrors()
    if not found:
        raise RuntimeError("no Debian mirror in this machine's apt sources")
    for name in ("lists/partial", "cache/archives/partial"):
        (root / name).mkdir(parents=True, exist_ok=True)
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    lines = [f"deb {keyring} {found[0]} {suite} non-free\n" for suite in SUITES]
    (root / "sources.list").write_text("".join(lines), encoding="utf-8")
    run(["apt-get", *apt_options(root), "update", "-q"], root)


def versions_on_offer(root: Path) -> list[str]:
    """Package versions of nvidia-smi, as apt lists them."""
    rows = run(["apt-cache", *apt_options(root), "madison", "nvidia-smi"], root).splitlines()
    return [row.split("|")[1].strip() for row in rows]


def programs(major: str) -> list[Path]:
    """The executables named nvidia-smi that are unpacked already."""
    found = (CACHE / major).glob("usr/**/nvidia-smi")
    return [path for path in found if path.is_file() and not path.is_symlink() and os.access(path, os.X_OK)]


def fetch(major: str) -> Path:
    """The nvidia-smi of a driver branch such as `550`; RuntimeError with the reason if it cannot be had."""
    if unpacked := programs(major):
        return unpacked[0]
    root = CACHE / "apt"
    if not (root / "sources.list").exists():
        refresh_lists(root)
    wanted = [version for version in versions_on_offer(root) if version.startswith(major + ".")]
    if not wanted:
        raise RuntimeError(f"no nvidia-smi {major} among {versions_on_offer(root)}")
    run(["apt-get", *apt_options(root), "download", f"nvidia-smi={wanted[0]}"], root)
    package = next(root.glob(f"nvidia-smi_{major}.*.deb"))
    run(["dpkg", "-x", str(package), str(CACHE / major)], root)
    return programs(major)[0]
