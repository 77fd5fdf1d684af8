# SPDX-License-Identifier: Apache-2.0
"""Libraries that are real, directories that are fast, and the programs that keep the store's contract."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import REPOSITORY
from support.library_files import build

from hamid.core.library.plan import STORE

SCRIPT = REPOSITORY / "scripts" / "vgpu-init.sh"
# File names are bytes, and so is what names them.
SHELLS = {"dash": ["dash"], "ash": ["busybox", "ash"]}


@pytest.fixture
def fast_path():
    """A directory in memory where there is one: these proofs are about system calls, not about disks."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base, prefix="hami-test-") as path:
        yield Path(path)


def fill(folder, files):
    """Write `{relative path: content}` below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture
def store(fast_path, libraries):
    """Two sources, `first` with v1 and `second` with v2, and the path of a destination that does not exist yet."""
    first = fill(
        fast_path / "first",
        {
            "libvgpu.so": libraries.one,
            "libvgpu.so.v1": libraries.one,
            "license": "first",
            "tools/deep/validator": "#!/bin/sh\n",
        },
    )
    (first / "tools/deep/validator").chmod(0o755)
    second = fill(
        fast_path / "second",
        {"libvgpu.so": libraries.two, "libvgpu.so.v2": libraries.two, "license": "second", "tools/new": "n"},
    )
    return SimpleNamespace(first=first, second=second, dest=fast_path / "vgpu", base=fast_path, fill=fill)


def content(dest):
    """What a destination holds, but for the store's own folder: path -> bytes, link target or None for a folder."""
    found = {}
    for path in sorted(Path(dest).rglob("*")):
        name = str(path.relative_to(dest))
        if name.partition("/")[0] != STORE:
            found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def inodes(dest):
    """Path -> what must not change for a file that is left untouched."""
    found = {}
    for path in sorted(Path(dest).rglob("*")):
        if path.is_file() and path.parent.name != STORE:
            status = path.lstat()
            found[str(path.relative_to(dest))] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found


def leftovers(dest):
    """Files in the making, and locks."""
    return [str(path) for path in Path(dest).rglob("*") if path.name.startswith(".hami-tmp") or path.name == "lock.d"]


@pytest.fixture
def look():
    """`content`, `inodes` and `leftovers` of a destination."""
    return SimpleNamespace(content=content, inodes=inodes, leftovers=leftovers, build=build)


@pytest.fixture(params=["hamictl", "dash", "ash"])
def kind(request):
    """Each program of the contract, by name."""
    return request.param


@pytest.fixture
def install(kind, hamictl):
    """That program: `install(dest, source)` gives code, lines of stdout, and stderr."""
    if kind != "hamictl" and shutil.which(SHELLS[kind][0]) is None:
        pytest.skip(f"{SHELLS[kind][0]} is not installed here")

    def run(dest, source, **environment):
        if kind == "hamictl":
            result = hamictl.run("lib", "sync", "--dest", dest, "--source", source)
            return SimpleNamespace(code=result.exit_code, lines=sorted(result.stdout.splitlines()), err=result.stderr)
        command = [*SHELLS[kind], str(SCRIPT), str(dest), str(source)]
        variables = {**os.environ, **environment}
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            timeout=60,
            env=variables,
            encoding="utf-8",
            errors="surrogateescape",
        )
        return SimpleNamespace(code=done.returncode, lines=sorted(done.stdout.splitlines()), err=done.stderr)

    return run
