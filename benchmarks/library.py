# SPDX-License-Identifier: Apache-2.0
"""The library store in process: a no-op sync against MD5 of both sides, a cold sync against cp plus fsync.

Each figure is the best of several runs, in the order ours and theirs; the files are 1 MiB each, on the disk of TMPDIR.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hamid.engine.library.sync import sync

FILES = (1, 10, 100)
REPEATS = 7
COLD_REPEATS = 5
MIB = 1024 * 1024


def best(times: int, run: Callable[[], None], prepare: Callable[[], None] = lambda: None) -> float:
    """The shortest of some runs, in milliseconds; `prepare` is not measured."""
    found = []
    for _ in range(times):
        prepare()
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found) * 1000


def md5_both(source: Path, dest: Path) -> None:
    """What HAMi's script does to find out that nothing is to be done, without its processes."""
    for path in sorted(source.iterdir()):
        sums = [hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() for file in (path, dest / path.name)]
        if sums[0] != sums[1]:
            raise AssertionError(path)


def copy_and_fsync(source: Path, dest: Path) -> None:
    """`cp` of every file, each followed by its fsync."""
    dest.mkdir()
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, dest / path.name)
        descriptor = os.open(dest / path.name, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def settle() -> None:
    """What earlier runs left to be written is written."""
    os.sync()


def measure(base: Path, count: int) -> tuple[float, float, float, float]:
    """No-op of ours, MD5 of both sides, cold of ours, cp plus fsync; in milliseconds."""
    source, dest, other = base / f"source-{count}", base / "vgpu", base / "other"
    source.mkdir()
    for number in range(count):
        (source / f"file-{number:03}").write_bytes(os.urandom(MIB))

    def fresh() -> None:
        for path in (dest, other):
            shutil.rmtree(path, ignore_errors=True)
        settle()

    cold = best(COLD_REPEATS, lambda: _sync(dest, source), fresh)
    copied = best(COLD_REPEATS, lambda: copy_and_fsync(source, other), fresh)
    fresh()
    _sync(dest, source)
    noop = best(REPEATS, lambda: _sync(dest, source))
    return noop, best(REPEATS, lambda: md5_both(source, dest)), cold, copied


def _sync(dest: Path, source: Path) -> None:
    sync(str(dest), str(source))


def main() -> None:
    """Print one line per number of files."""
    print(f"{'files':>5} {'no-op ms':>9} {'md5 ms':>9} {'1/x':>6} {'cold ms':>9} {'cp+fsync':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as name:
        for count in FILES:
            noop, md5, cold, copied = measure(Path(name), count)
            print(f"{count:5} {noop:9.3f} {md5:9.2f} {md5 / noop:6.1f} {cold:9.2f} {copied:9.2f} {cold / copied:6.2f}")


if __name__ == "__main__":
    main()
