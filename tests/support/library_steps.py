# SPDX-License-Identifier: Apache-2.0
"""Kill or fail a run at each of its calls to the system, and check what it leaves; a program of its own, as it forks.

`library_steps.py MODE SCENARIO BASE [full]`: BASE holds the sources `first` and `second`. Prints one JSON object.
Without `full` a kill comes before each call only (after one is before the next), and half of the errors are tried at
each.
"""

import errno
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

from hamid.core.errors import HamiError
from hamid.engine.library.gc import collect
from hamid.engine.library.sync import rollback, sync
from hamid.engine.library.verify import verify
from hamid.node.files.tree import REAL
from hamid.node.paths import Paths
from hamid.testing.file_steps import FailingCalls, KillingCalls

MODE, SCENARIO, BASE = sys.argv[1], sys.argv[2], Path(sys.argv[3])
DEST, OLD, FIRST, SECOND = BASE / "vgpu", BASE / "old", BASE / "first", BASE / "second"
FULL = len(sys.argv) > 4
CODES = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)


def prepare():
    """The state before the run, in OLD, and what runs."""
    if SCENARIO == "fresh":
        return partial(sync, str(DEST), str(FIRST), wait=5)
    sync(str(DEST), str(FIRST))
    if SCENARIO == "rollback":
        sync(str(DEST), str(SECOND))
        return partial(rollback, str(DEST), "v1", wait=5)
    if SCENARIO == "gc":
        sync(str(DEST), str(SECOND))
        (DEST / "containers" / "uid-1_main" / "deep").mkdir(parents=True)
        os.utime(DEST / "containers" / "uid-1_main", (1, 1))
        (BASE / "root/var/lib/kubelet/pods").mkdir(parents=True)
        return partial(collect, str(DEST), Paths(str(BASE / "root")), keep=1, wait=5)
    return partial(sync, str(DEST), str(SECOND), wait=5)


def state():
    """Path -> content of everything but the store's own folder."""
    found = {}
    for path in DEST.rglob("*"):
        name = str(path.relative_to(DEST))
        if not name.startswith(".hami/") and name != ".hami":
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def inodes():
    return {str(path): path.lstat().st_ino for path in DEST.rglob("*") if path.is_file() and ".hami" not in str(path)}


def leftovers():
    return [str(path) for path in DEST.rglob("*") if path.name.startswith(".hami-tmp") or path.name == "lock.d"]


def restore():
    shutil.rmtree(DEST, ignore_errors=True)
    if OLD.exists():
        shutil.copytree(OLD, DEST, symlinks=True)


def torn(now, old, new):
    """Files that are neither what they were nor what they become."""
    visible = {name: data for name, data in now.items() if ".hami-tmp." not in name and data is not None}
    return [name for name, data in visible.items() if data not in (old.get(name), new.get(name))] + [
        name for name in old.keys() & new.keys() if name not in now
    ]


def kill_everywhere(run, old, new):
    problems, step, alive = [], 0, False
    while not alive:
        for after in (False, True) if FULL else (False,):
            restore()
            child = os.fork()
            if child == 0:
                try:
                    run(calls=KillingCalls(step, after=after))
                finally:
                    os._exit(0)
            alive = os.waitpid(child, 0)[1] == 0
            where = f"{SCENARIO} killed {'after' if after else 'before'} call {step}"
            problems += [f"{where}: torn {name}" for name in torn(state(), old, new)]
            run(calls=REAL)
            problems += [] if state() == new else [f"{where}: not completed"]
            problems += [f"{where}: left {name}" for name in leftovers()]
            problems += [f"{where}: {drift}" for drift in verify(str(DEST))]
        step += 1
    return step, problems


def fail_everywhere(run, old, new):
    problems, step, survived = [], 0, 0
    while survived < len(CODES) * 3:
        for code in CODES if FULL else CODES[step % 2 :: 2]:
            restore()
            before = inodes()
            where = f"{SCENARIO} failed at call {step} with {errno.errorcode[code]}"
            try:
                run(calls=FailingCalls(step, code))
                survived += 1
                problems += [] if state() == new else [f"{where}: said nothing"]
            except HamiError:
                survived = 0
                problems += [] if state() == old or SCENARIO == "gc" else [f"{where}: old state is not whole"]
                problems += [] if inodes() == before or SCENARIO == "gc" else [f"{where}: an inode was replaced"]
            problems += [f"{where}: left {name}" for name in leftovers() if SCENARIO != "gc"]
        step += 1
    return step, problems


def main():
    run = prepare()
    if DEST.exists():
        shutil.copytree(DEST, OLD, symlinks=True)
    old = state()
    run(calls=REAL)
    new = state()
    steps, problems = (kill_everywhere if MODE == "kill" else fail_everywhere)(run, old, new)
    sys.stdout.write(json.dumps({"steps": steps, "problems": problems[:20]}))


if __name__ == "__main__":
    main()
