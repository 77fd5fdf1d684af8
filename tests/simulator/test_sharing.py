# SPDX-License-Identifier: Apache-2.0
"""One node, many processes: what they see of each other, and what their death leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pynvml
import pytest
from support import SUPPORT, TESTS, migtools
from support.waiting import is_blocked_in, until

from hamid.core.errors import UsageError
from hamid.node.paths import native_file
from hamid.node.simulation import control

LIBRARY = native_file("simulator/libnvidia-ml.so.1")
HAMMER = SUPPORT / "hammer.py"


def in_another_process(code):
    """Runs Python code against the same node in a process of its own."""
    prelude = "import ctypes, sys; ctypes.CDLL(sys.argv[1], 256)\nimport pynvml; from support import migtools\n"
    prelude += "pynvml.nvmlInit(); device = pynvml.nvmlDeviceGetHandleByIndex(0)\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code, LIBRARY],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def hammer(state, *, kills, workers=1, seed=1):
    """Lets processes work on a node while they are killed after calls that a seed counts."""
    return subprocess.run(
        [sys.executable, str(HAMMER), LIBRARY, str(state), str(kills), str(workers), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def check_consistent(device):
    """The node's instances do not overlap, its lists agree, and it can be emptied and filled to the last slice."""
    capacities = {facts.id: facts.instanceCount for facts in migtools.profiles(device).values()}
    taken: set[int] = set()
    for instance in migtools.all_instances(device):
        _, _, start, size = migtools.info(instance)
        window = set(range(start, start + size))
        assert not window & taken
        taken |= window
    migtools.drain(device)
    assert migtools.mig_devices(device) == {}
    for profile_id, count in capacities.items():
        assert pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, profile_id) == count
    smallest = migtools.profiles(device)[0]
    for _ in range(smallest.instanceCount):
        migtools.whole(device, smallest.id, 0)
    migtools.drain(device)


def test_processes_see_each_others_changes(mig_gpu):
    """What one process creates another one sees, uses and destroys, and the first one's handle is stale then."""
    device = mig_gpu("A100-SXM4-40GB")
    seen = in_another_process(
        "print(pynvml.nvmlDeviceGetMigMode(device), pynvml.nvmlGpuInstanceGetInfo(migtools.create(device, 9)).id)"
    )
    assert seen == "[1, 1] 2"
    (instance,) = migtools.all_instances(device)
    assert migtools.info(instance)[1:] == (9, 4, 4)
    in_another_process("migtools.drain(device)")
    assert migtools.all_instances(device) == []
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.nvmlGpuInstanceGetInfo, instance)


def test_a_thousand_kills_leave_a_usable_node(mig_gpu):
    """SIGKILL after 1,000 random numbers of calls wedges no lock and leaves no half change."""
    mig_gpu("A100-SXM4-40GB", count=8)
    done = hammer(os.environ["HAMI_SIM_STATE"], kills=1000)
    assert done.returncode == 0, done.stderr
    for index in range(8):
        check_consistent(pynvml.nvmlDeviceGetHandleByIndex(index))


def test_threads_share_one_session(mig_gpu):
    """Threads that create and destroy at once never see an instance of another one vanish."""
    device = mig_gpu("A100-SXM4-40GB")
    problems = []

    def work():
        for _ in range(300):
            try:
                instance = migtools.create(device, 19)
                migtools.info(instance)
                pynvml.nvmlGpuInstanceDestroy(instance)
            except pynvml.NVMLError as error:
                problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert migtools.all_instances(device) == []


def test_state_files_are_never_overwritten(make_state, tmp_path):
    """Making a node where a file lies is refused, and the file stays as it was."""
    state = make_state("1xA30")
    before = state.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        control.create(state, "2xA30")
    assert state.read_bytes() == before
    with pytest.raises(UsageError, match="No such file"):
        control.create(tmp_path / "missing" / "node", "1xA30")
    assert [entry.name for entry in tmp_path.iterdir()] == [state.name]
    assert state.stat().st_mode & 0o777 == 0o600


def foreign_files(tmp_path, state):
    """Files that are no node state of this version, with the words that say so."""
    content = state.read_bytes()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("not a node\n" * 1000)
    (tmp_path / "short").write_bytes(content[:-1])
    (tmp_path / "long").write_bytes(content + b"x")
    (tmp_path / "version").write_bytes(content[:8] + b"\x63" + content[9:])
    (tmp_path / "noise").write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    (tmp_path / "counts").write_bytes(content.replace(b"\x02\x00\x00\x00\x00\x00\x00\x00", b"\xff" * 8))
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    return {
        "empty": "not the state",
        "text": "not the state",
        "short": "cut short",
        "long": "too long",
        "version": "another version",
        "noise": "damaged",
        "counts": "damaged",
        "directory": "directory",
        "fifo": "not the state",
        "absent": "No such file",
    }


def test_foreign_files_are_refused_and_never_crash(make_state, tmp_path, clean_environment, capfd):
    """Garbage, cut, foreign and damaged files, pipes and directories give a clear error from every entrance."""
    for name, words in foreign_files(tmp_path, make_state("2xA30")).items():
        path = tmp_path / name
        with pytest.raises(UsageError, match=words):
            control.check_state(path)
        clean_environment.setenv("HAMI_SIM_STATE", str(path))
        with pytest.raises(pynvml.NVMLError):
            pynvml.nvmlInit()
        assert words in capfd.readouterr().err


def test_a_removed_node_is_a_missing_driver(make_state):
    """When the state file is removed, replaced or cut under a running client, calls say so and nothing crashes."""
    for spoil in (os.unlink, lambda path: os.truncate(path, 100)):
        state = make_state("1xA30")
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        spoil(state)
        assert migtools.fails(pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.nvmlDeviceGetUUID, device)
        assert migtools.fails(pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.nvmlDeviceGetCount)
        pynvml.nvmlShutdown()


BOOT_ID, INODE, LOCK, OWNER = 32, 72, 80, 88  # offsets in store.h's header; the lock word and its owner in glibc


def held_by_nobody(content):
    """A state whose lock names an owner that will never give it back."""
    spoiled = bytearray(content)
    spoiled[LOCK : LOCK + 4] = (1).to_bytes(4, "little")
    spoiled[OWNER : OWNER + 4] = (1).to_bytes(4, "little")
    return spoiled


def opens_at_once(path):
    """Whether a process of its own can open the node; False when it waits for the lock."""
    code = f"import ctypes; exit(ctypes.CDLL({LIBRARY!r}).hami_sim_check({str(path).encode()!r}, None, 0))"
    with subprocess.Popen([sys.executable, "-c", code]) as opening:
        until(lambda: opening.poll() is not None or is_blocked_in("futex", opening.pid))
        opening.kill()
    return opening.returncode == 0


def test_stale_owners_of_the_lock_are_forgotten(make_state, tmp_path):
    """After a reboot and in a copy the lock is reinitialised; in the same file of the same boot it is respected."""
    state = make_state("1xA30")
    held = held_by_nobody(state.read_bytes())
    (tmp_path / "copy").write_bytes(held)
    assert opens_at_once(tmp_path / "copy")
    state.write_bytes(held)
    assert not opens_at_once(state)
    held[BOOT_ID : BOOT_ID + 8] = b"00000000"
    state.write_bytes(held)
    assert opens_at_once(state)


FORKS = """
import ctypes, os, sys, threading, warnings
warnings.simplefilter("ignore")
library = ctypes.CDLL(sys.argv[1])
device, modes = ctypes.c_void_p(), (ctypes.c_uint * 2)()
def mode():
    return library.nvmlDeviceGetMigMode(device, modes, ctypes.byref(modes, 4))
assert library.nvmlInit_v2() == 0 and library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
def busy():
    while True:
        mode()
for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
for _ in range(50):
    child = os.fork()
    if child == 0:
        instance = ctypes.c_void_p()
        made = library.nvmlDeviceCreateGpuInstance(device, 19, ctypes.byref(instance))
        os._exit(mode() or made or library.nvmlGpuInstanceDestroy(instance))
    assert os.waitpid(child, 0)[1] == 0
print("forked")
sys.stdout.flush()
os._exit(0)
"""


def test_a_fork_keeps_working(mig_gpu):
    """Children forked in the middle of other threads' calls can call NVML and change the node."""
    device = mig_gpu("A100-SXM4-40GB")
    done = subprocess.run(
        [sys.executable, "-c", FORKS, LIBRARY], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("forked", "")
    assert migtools.all_instances(device) == []


@pytest.mark.full
@pytest.mark.timeout(300)
def test_eight_processes_hammer_one_node_for_long(mig_gpu):
    """Eight processes that create, destroy and are killed 3,000 times leave a consistent and live node."""
    mig_gpu("A100-SXM4-40GB", count=8)
    done = hammer(os.environ["HAMI_SIM_STATE"], kills=3000, workers=8)
    assert done.returncode == 0, done.stderr
    for index in range(8):
        check_consistent(pynvml.nvmlDeviceGetHandleByIndex(index))


def test_eight_processes_hammer_one_node(mig_gpu):
    """The same for 250 kills."""
    mig_gpu("A100-SXM4-40GB", count=8)
    done = hammer(os.environ["HAMI_SIM_STATE"], kills=250, workers=8, seed=2)
    assert done.returncode == 0, done.stderr
    for index in range(8):
        check_consistent(pynvml.nvmlDeviceGetHandleByIndex(index))
