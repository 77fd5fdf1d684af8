# SPDX-License-Identifier: Apache-2.0
"""A simulated node that can be put back to an earlier state, and a child process that dies at a chosen point."""

import contextlib
import gc
import hashlib
import itertools
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from hamid.core.errors import HamiError
from hamid.engine.driver.observe import observe
from hamid.engine.pods import share_folders
from hamid.engine.steps.recover import repair_plan
from hamid.node.driver import device_nodes
from hamid.node.ledger.ledger import Ledger
from hamid.node.ledger.reader import read_facts
from hamid.node.paths import Paths
from hamid.node.simulation import control, lifecycle

# Memory where there is some: what is measured is not the disk, and a kill loses nothing that was written.
PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# What changes the driver's state; after one of them a process may die before Python knows of it.
MUTATIONS = (
    "nvmlDeviceSetMigMode",
    "nvmlDeviceCreateGpuInstance*",
    "nvmlGpuInstanceCreateComputeInstance*",
    "nvmlComputeInstanceDestroy",
    "nvmlGpuInstanceDestroy",
)
# Where a journal entry, a device node or a directory is written: each is a point before, and one after.
WRITES = (
    Ledger._commit.__code__,
    device_nodes.ensure.__code__,
    device_nodes.ensure_gpu.__code__,
    share_folders.make.__code__,
    share_folders.ensure.__code__,
    share_folders.remove.__code__,
)
MOST_POINTS = 3000
# Where the simulated driver's state file has its lock, which remembers who held it (native/simulator/node/store.c).
DRIVER_LOCK = slice(64, 104)
# Of these tables what does not name a process or a time.
COLUMNS = {
    "runs": "run, boot_id, goal, claim, operator_name, claim_seats, steps, ended",
    "claims": "id, operator_name, owner, pending, granted",
}


class Scene:
    """A node at a place of its own; `save` and `put_back` cover driver, ledger and root directory."""

    def __init__(self, folder: Path, spec: str) -> None:
        folder.mkdir(exist_ok=True)
        self.state = folder / "node"
        self._saved = folder / "saved"
        lifecycle.up(self.state, spec)
        os.environ["HAMI_SIM_STATE"] = str(self.state)
        self.root = lifecycle.root_of(self.state)
        self.paths = Paths(str(self.root))
        self._users: list[subprocess.Popen[bytes]] = []

    def save(self) -> None:
        """Remember the node as it is."""
        self._saved.mkdir(exist_ok=True)
        shutil.copyfile(self.state, self._saved / "node")
        shutil.rmtree(self._saved / "root", ignore_errors=True)
        _copy_tree(self.root, self._saved / "root")

    def put_back(self) -> None:
        """The node as it was when it was saved."""
        temporary = self.state.with_suffix(".new")
        shutil.copyfile(self._saved / "node", temporary)
        temporary.replace(self.state)
        shutil.rmtree(self.root)
        _copy_tree(self._saved / "root", self.root)

    def lasting(self) -> bytes:
        """All that outlives a process, as one digest: the driver's state, the ledger without pids and times, files."""
        driver = bytearray(self.state.read_bytes())
        driver[DRIVER_LOCK] = bytes(DRIVER_LOCK.stop - DRIVER_LOCK.start)
        digest = hashlib.blake2b(driver)
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            size = status.st_size if stat.S_ISREG(status.st_mode) and "ledger" not in path.name else 0
            digest.update(repr((str(path), status.st_mode, status.st_rdev, size)).encode())
        digest.update(repr(self._ledger_rows()).encode())
        return digest.digest()

    def _ledger_rows(self) -> list[tuple[object, ...]]:
        """Read from a copy, since opening a ledger may tidy it up."""
        with tempfile.TemporaryDirectory(dir=self.root.parent) as folder:
            for path in self.root.glob("var/lib/hami/ledger.db*"):
                shutil.copyfile(path, Path(folder) / path.name)
            with contextlib.closing(sqlite3.connect(f"{folder}/ledger.db")) as ledger:
                names = [name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                return [
                    row
                    for name in sorted(names)
                    for row in ledger.execute(f"SELECT {COLUMNS.get(name, '*')} FROM {name}")
                ]

    def reboot(self) -> None:
        """The node reboots."""
        lifecycle.reboot(self.state)

    def use(self, uuid: str) -> subprocess.Popen[bytes]:
        """A process of ours that uses a GPU or instance until it is ended."""
        user = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._users.append(user)
        control.add_process(uuid, user.pid, 100, state=self.state)
        return user

    def close(self) -> None:
        """Ends the node and every process that uses it."""
        for user in self._users:
            user.communicate()
        lifecycle.down(self.state)

    def observe(self):
        """The node as it is, with what the ledger says."""
        return observe(self.paths)

    def facts(self):
        """What the ledger says."""
        return read_facts(self.paths)

    def look(self):
        """Driver and ledger at this moment."""
        return Look(self.observe(), self.facts())

    def instances(self):
        """Every instance as (GPU index, profile, start, compute instances), sorted."""
        return self.look().instances

    def picture(self):
        """What must be equal for two nodes to be in the same state: modes, instances and claims."""
        return self.look().picture

    def assert_agreed(self, look=None) -> None:
        """Ledger and NVML say the same, nothing is half-made, nothing is open, and another recovery finds no work."""
        (look or self.look()).assert_agreed()
        assert repair_plan(self.paths)[0] == []


class Look:
    """A node as it was found, for judging."""

    def __init__(self, snapshot, facts) -> None:
        self._found = [(gpu, each) for gpu in snapshot.gpus for each in gpu.instances]
        self._own = {(each.seat.gpu_uuid, each.seat.profile_id, each.seat.start) for each in facts.own}
        # Every instance as (GPU index, profile, start, compute instances).
        self.instances = sorted(
            (gpu.index, each.profile, each.placement.start, each.compute_instances) for gpu, each in self._found
        )
        # The used instances, which no change may alter: their UUIDs and their processes.
        self.used = [
            (gpu.uuid, each.gi_id, each.mig_uuid, each.placement, tuple(holder.pid for holder in each.holders))
            for gpu, each in self._found
            if each.holders
        ]
        modes = tuple((gpu.mig_enabled, gpu.mig_pending) for gpu in snapshot.gpus)
        claims = sorted((claim.name, tuple(sorted(each.seat for each in claim.seats))) for claim in facts.claims)
        self.picture = modes, tuple(self.instances), tuple(claims)

    def assert_agreed(self) -> None:
        """Ledger and NVML say the same, and nothing is half-made."""
        assert all(count == 1 for *_, count in self.instances)
        assert self._own == {(gpu.uuid, each.profile_id, each.placement.start) for gpu, each in self._found}


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=_copy)


def _copy(source: str, target: str) -> None:
    """A file, or a device node as such."""
    status = os.lstat(source)
    if stat.S_ISCHR(status.st_mode):
        os.mknod(target, status.st_mode, status.st_rdev)
    else:
        shutil.copy2(source, target)


def in_child(work, arm) -> bool:
    """Run `work` in a forked child after `arm` armed its death; True if it was killed, False if it ended."""
    assert threading.active_count() == 1, "only a process without threads may fork"
    child = os.fork()
    if child == 0:
        gc.disable()  # a collection would copy every page of the parent's memory
        code = 3
        try:
            arm()
            work()
            code = 0
        except HamiError:  # a change that fails is one of the cases; it was not killed
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def apart(work) -> None:
    """Run `work` in a forked child, since a driver call that hangs keeps its process from another node; as if here."""
    assert threading.active_count() == 1, "only a process without threads may fork"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # the parent fails with any error of the child
            os.write(writer, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as said:
        problem = said.read()
    os.waitpid(child, 0)
    assert not problem, problem


def under(rules, work):
    """The work with rules of the simulator in force, besides those that are."""

    def run():
        others = os.environ.get("HAMI_SIM_FAULTS")
        os.environ["HAMI_SIM_FAULTS"] = ",".join(filter(None, (rules, others)))
        work()

    return run


def at_call(pattern, number, when):
    """Arms death before (`kill`) or after (`kill-after`) the number-th driver call of that name."""

    def arm():
        os.environ["HAMI_SIM_FAULTS"] = f"{pattern}#{number}={when}"

    return arm


def at_write(number, event):
    """Arms death at the number-th write: `call` is right before it, `return` right after."""

    def arm():
        passed = itertools.count(1)

        def watch(frame, what, argument):
            if what == event and frame.f_code in WRITES and next(passed) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        threading.setprofile(watch)
        sys.setprofile(watch)

    return arm


def deaths(*, reads=True):
    """Families of points to die at; each gives, for a number from 1 on, what arms it.

    Without `reads` a call that changes nothing is no point of its own: nothing that lasts is different there.
    """
    if reads:
        yield "before a call", lambda number: at_call("nvml*", number, "kill")
    for pattern in MUTATIONS:
        if not reads:
            yield f"before {pattern}", lambda number, pattern=pattern: at_call(pattern, number, "kill")
        yield f"after {pattern}", lambda number, pattern=pattern: at_call(pattern, number, "kill-after")
    yield "before a write", lambda number: at_write(number, "call")
    yield "after a write", lambda number: at_write(number, "return")


def kills(scene, work, judge, *, reads=True):
    """Kills the work at every point there is, judges what that leaves behind, and puts the node back.

    What is left behind twice is judged once: a recovery sees nothing else of the dead process. Gives the number of
    kills and that of the different states they left.
    """
    count = 0
    judged = set()
    for family, arm in deaths(reads=reads):
        for number in itertools.count(1):
            assert number < MOST_POINTS, family
            if not in_child(work, arm(number)):
                break
            if (left := scene.lasting()) not in judged:
                judged.add(left)
                judge()
            scene.put_back()
            count += 1
        scene.put_back()
    return count, len(judged)
