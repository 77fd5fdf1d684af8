# SPDX-License-Identifier: Apache-2.0
"""A process that loads the library at any instant finds a whole one; under HAMi's published algorithm it does not."""

import hashlib
import shutil
import subprocess
import sys

import pytest
from support import SUPPORT
from support.narrow import present

from hamid.engine.library.sync import sync

READER = SUPPORT / "library_reader.py"


def hami_sync(dest, source):
    """HAMi's vgpu-init.sh, v2.5 to v2.10: compare the MD5 sums, then copy in place."""
    for path in source.iterdir():
        target = dest / path.name
        if not target.exists() or hashlib.md5(path.read_bytes()).digest() != hashlib.md5(target.read_bytes()).digest():
            shutil.copyfile(path, target)


def race(store, libraries, update, *, reads, syncs):
    """Reads, torn and missing ones while `update` installs two versions in turn; a reader killed by a fault is torn."""
    sources = [store.fill(store.base / name, {"libvgpu.so": data}) for name, data in libraries.items()]
    sync(str(store.dest), str(sources[0]))
    stop = store.base / "stop"
    versions = [str(source / "libvgpu.so") for source in sources]
    command = [sys.executable, str(READER), str(store.dest / "libvgpu.so"), str(reads), str(stop), *versions]
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as reader:
        while reader.poll() is None:
            done += 1
            update(sources[done % 2])
            if done >= syncs:
                stop.touch()
        text = present(reader.stdout).read()
    return [*map(int, text.split()), done] if reader.returncode == 0 else [0, 1, 0, done]


def large(look, folder):
    """Two versions of a library of 1 MiB."""
    return {name: look.build(folder, name, byte, size=1_000_000).read_bytes() for name, byte in (("a", 1), ("b", 2))}


def test_no_read_is_torn_or_missing(store, look, tmp_path):
    """10,000 reads during hundreds of syncs."""
    reads, torn, missing, _ = race(
        store, large(look, tmp_path), lambda s: sync(str(store.dest), str(s)), reads=10_000, syncs=200
    )
    assert (torn, missing) == (0, 0)
    assert reads >= 10_000


@pytest.mark.full
def test_no_read_of_many_is_torn_or_missing(store, look, tmp_path):
    """100,000 reads during thousands of syncs."""
    reads, torn, missing, syncs = race(
        store, large(look, tmp_path), lambda s: sync(str(store.dest), str(s)), reads=100_000, syncs=2000
    )
    assert (torn, missing) == (0, 0)
    assert reads >= 100_000
    assert syncs >= 2000


def test_copying_in_place_tears_reads(store, look, tmp_path):
    """The same reader sees torn files, or dies of one, under HAMi's algorithm: the proof above can fail."""
    _, torn, _, _ = race(store, large(look, tmp_path), lambda s: hami_sync(store.dest, s), reads=10_000, syncs=50)
    assert torn > 0
