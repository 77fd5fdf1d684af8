# SPDX-License-Identifier: Apache-2.0
"""Many processes and threads, and every way in which one ends or becomes another: nothing over, nothing left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import cudatools
from support.narrow import present
from support.programs import piped
from support.sharing import MIB, close, exists
from support.waiting import LIMIT_SECONDS, until


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


SIZES = [
    (1, 1, 10000),
    (1, 8, 2000),
    (8, 1, 2000),
    (8, 8, 300),
    (64, 1, 100),
    pytest.param(128, 1, 300, marks=pytest.mark.full),
    pytest.param(64, 8, 300, marks=pytest.mark.full),
]


@pytest.mark.parametrize("word", ["direct", "mix"])
@pytest.mark.parametrize(("processes", "threads", "rounds"), SIZES)
def test_nothing_is_ever_over_and_nothing_is_left(container, start, processes, threads, rounds, word):
    """While all of them allocate and free, the driver never holds more than the limit; then it holds nothing."""
    place = container(64)
    running = [start(place, word, threads, rounds, 8 * MIB) for _ in range(processes)]
    while any(each.poll() is None for each in running):
        # A pool keeps what was freed in steps of its own; what was given out is what is limited there.
        assert word == "mix" or place.used() <= 64 * MIB
        time.sleep(0.002)
    assert {each.communicate()[0] for each in running} == {"0\n"}
    client = place.client()
    assert client("d.used()") == 0
    assert client(f"d.alloc({64 * MIB}) > 0")
    client.kill()


@pytest.mark.parametrize(
    ("processes", "threads"), [(1, 8), (8, 4), (32, 1), pytest.param(128, 1, marks=pytest.mark.full)]
)
def test_the_last_byte_is_found_by_somebody(container, start, processes, threads):
    """However many race for it, all of the limit is given out, and not one piece more."""
    place = container(100)
    running = [start(place, "fill", threads, MIB) for _ in range(processes)]
    pieces = [int(present(each.stdout).readline()) for each in running]
    assert place.used() == sum(pieces) * MIB == 100 * MIB


@pytest.fixture(scope="session")
def racing(tmp_path_factory):
    """The program."""
    program = tmp_path_factory.mktemp("racing") / "racing"
    source = Path(__file__).parent / "programs/racing.c"
    subprocess.run(["cc", "-std=gnu11", "-O1", "-pthread", "-o", program, source, "-ldl"], check=True)
    return program


FAMILIES = {
    "linear": 1,
    "managed": 1,
    "pitch": 1,
    "async": 1,
    "pool": 1,
    "keeping": 1,
    "physical": 2,
    "array": 1,
    "mipmap": 1,
    "graph": 2,
}


@pytest.mark.parametrize(("processes", "threads"), [(1, 8), (8, 4), (64, 1), (128, 2)])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_given_out_to_the_last_byte_and_comes_back(container, racing, family, processes, threads):
    """However many race for it: the limit exactly, OUT_OF_MEMORY beyond, and at the end nothing is counted."""
    place = container(64)
    environment = cudatools.environment(place.state, **place.environment)
    running = [piped([racing, family, str(threads)], environment) for _ in range(processes)]
    pieces = [int(present(each.stdout).readline()) for each in running]
    assert sum(pieces) * FAMILIES[family] == 64
    for each in running:
        go_on(each)
    assert {present(each.stdout).readline() for each in running} == {"0\n"}
    client = place.client()
    assert client("d.info()") == (64 * MIB, 64 * MIB)
    for each in running:
        assert each.communicate()[0] == ""
    client.kill()


@pytest.mark.parametrize("word", ["fork", "worker", "clone", "vfork", "close"])
def test_children_and_closed_files_change_no_figure(container, start, word):
    """A child, also one with CUDA of its own, leaves its parent's account alone, and so does closing every file."""
    place = container(100)
    process = start(place, word, 60 * MIB)
    assert process.stdout.readline() == f"{60 * MIB} {100 * MIB}\n"
    go_on(process)
    assert process.stdout.readline() == f"{60 * MIB} {100 * MIB}\n"
    other = start(place, "fill", 1, MIB)
    assert other.stdout.readline() == "40\n", "the others still see it"
    go_on(process)
    assert process.wait(LIMIT_SECONDS) == 0


def test_a_new_image_begins_with_nothing(container, start):
    """After an exec the same process has all of the limit again, and its old figure is gone."""
    place = container(100)
    process = start(place, "exec", 100 * MIB)
    assert process.stdout.readline() == f"{100 * MIB} {100 * MIB}\n"
    go_on(process)
    assert process.stdout.readline() == "1\n"


def test_an_image_that_uses_no_cuda_gives_all_back(container, start):
    """A process that became another program, and lives on, holds nothing any more."""
    place = container(100)
    process = start(place, "leave", 100 * MIB)
    process.stdout.readline()
    go_on(process)
    assert process.stdout.readline() == "waits\n"
    other = start(place, "fill", 1, MIB)
    assert other.stdout.readline() == "100\n"


def test_a_check_that_is_older_than_a_peers_memory_gives_nothing(container, crashing, start):
    """One stops right before its bytes are counted, another takes them: both together never get more than the limit."""
    place = container(100)
    close(place.client())  # the region is there
    late = start(place, "fill", 1, 60 * MIB, LD_PRELOAD=crashing, VGPU_STOP_AT="adding:1")
    until(lambda: is_stopped(late))
    other = start(place, "fill", 1, 60 * MIB)
    assert other.stdout.readline() == "1\n"
    late.send_signal(signal.SIGCONT)
    assert late.stdout.readline() == "0\n"


def test_the_killed_leave_nothing_and_hold_up_nobody(container, start):
    """SIGKILL among eight: those that go on get their memory."""
    place = container(80)
    running = [start(place, "fill", 1, MIB) for _ in range(8)]
    pieces = [int(present(each.stdout).readline()) for each in running]
    assert sum(pieces) == 80
    for each in running[:4]:
        each.kill()
        each.wait()
    other = start(place, "fill", 1, MIB)
    assert other.stdout.readline() == f"{sum(pieces[:4])}\n"


def is_stopped(process):
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("label", ["locked", "named", "taken", "added", "subtracted"])
def test_a_stopped_process_holds_up_nobody(container, crashing, start, label):
    """A peer that is stopped while it takes its slot or counts blocks no process, and goes on afterwards."""
    place = container(100)
    close(place.client())  # the region is there
    stopped = start(place, "mix", 1, 100, MIB, LD_PRELOAD=crashing, VGPU_STOP_AT=f"{label}:1")
    until(lambda: is_stopped(stopped))
    other = start(place, "mix", 1, 500, MIB)
    assert other.communicate(timeout=LIMIT_SECONDS)[0] == "0\n"
    assert is_stopped(stopped)
    stopped.send_signal(signal.SIGCONT)
    assert stopped.communicate(timeout=LIMIT_SECONDS)[0] == "0\n"


@pytest.fixture
def apart(hammer):
    """Starts hammers each in a pid namespace of its own, where it is process 1."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("pid namespaces cannot be made here")
    started = []

    def run(place, *words):
        command = [*unshare, str(hammer), *map(str, words)]
        started.append(piped(command, cudatools.environment(place.state, **place.environment)))
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.communicate()


def end_namespace(process):
    """Kills what `apart` started. unshare is gone before its process 1 is: the end of the pipe tells that all are."""
    process.kill()
    process.communicate(timeout=LIMIT_SECONDS)


def test_processes_that_all_are_number_one_are_told_apart(container, apart, start):
    """In pid namespaces of their own: one limit for all, and a killed one's share is free for the others at once."""
    place = container(100)
    first = apart(place, "fork", 60 * MIB)
    assert first.stdout.readline() == f"{60 * MIB} {100 * MIB}\n"
    second = apart(place, "fill", 1, MIB)
    assert second.stdout.readline() == "40\n"
    end_namespace(first)
    third = apart(place, "fill", 1, MIB)
    assert third.stdout.readline() == "60\n"
    end_namespace(second)
    assert start(place, "fill", 1, MIB).stdout.readline() == "40\n", "and for one outside"


REUSE = """
import subprocess, sys
hammer, size = sys.argv[1], int(sys.argv[2])
def start(*words):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([hammer, *map(str, words)], **pipes)
def again(pid, command):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(pid - 1))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.pid == pid, (process.pid, pid)
    return process
for word in ("fork", "close"):
    first = start(word, size)
    print(first.stdout.readline().split()[0])
    if word == "close":
        first.stdin.write("\\n")
        first.stdin.flush()
        first.stdout.readline()
    first.kill()
    first.wait()
    stranger = again(first.pid, ["cat"])
    print(start("fill", 1, 1 << 20).communicate("\\n")[0].strip())
    stranger.kill()
    stranger.wait()
    heir = again(first.pid, [hammer, "fill", "1", str(1 << 20)])
    print(heir.communicate("\\n")[0].strip())
"""


def test_a_pid_that_comes_again_is_another_process(container, hammer):
    """The dead one's bytes are free, whether a stranger or a client of the container has its pid now."""
    place = container(100)
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if place.run(*inside, "test", "-w", "/proc/sys/kernel/ns_last_pid", LD_PRELOAD="").returncode != 0:
        pytest.skip("pid namespaces cannot be made here")
    command = [sys.executable, "-c", REUSE, hammer, str(60 * MIB)]
    done = place.run(*inside, *map(str, command))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(60 * MIB), "100", "100"] * 2


def test_a_daemon_is_one_of_the_container(container, hammer, start):
    """Started by posix_spawn in a session of its own, its parent gone: it counts while it lives, and no longer."""
    place = container(100)
    door = place.cache.with_name("door")
    os.mkfifo(door)
    environment = cudatools.environment(place.state, **place.environment)
    reader, writer = os.pipe()
    told = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_CLOSE, reader)]
    script = f"setsid '{hammer}' fork {60 * MIB} 0<>'{door}' & echo $!"
    parent = os.posix_spawn("/bin/sh", ["sh", "-c", script], environment, file_actions=told)
    os.close(writer)
    os.waitpid(parent, 0)
    with os.fdopen(reader) as said:
        lines = {said.readline(), said.readline()}
    shown = f"{60 * MIB} {100 * MIB}\n"
    assert shown in lines
    (daemon,) = map(int, lines - {shown})
    assert start(place, "fill", 1, MIB).stdout.readline() == "40\n"
    os.kill(daemon, signal.SIGKILL)
    until(lambda: not exists(daemon))
    assert start(place, "fill", 1, MIB).stdout.readline() == "60\n"
