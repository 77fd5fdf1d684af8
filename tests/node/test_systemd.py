# SPDX-License-Identifier: Apache-2.0
import os
import socket
import time

import pytest

from hamid.node.system.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A manager's socket in each of its two kinds, and its address as systemd writes it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@hami-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(5)
        yield listening, name


def test_the_life_of_a_service(manager):
    """Every message arrives as sd_notify(3) writes it, on a path and in the abstract space."""
    listening, name = manager
    notifier = Notifier(name)
    notifier.ready("2 GPUs")
    notifier.status("2 GPUs")
    notifier.status("kubelet is\nabsent")
    notifier.alive()
    notifier.extend(1.5)
    notifier.stopping("draining")
    received = [listening.recv(4096).decode() for _ in range(5)]
    assert received == [
        "READY=1\nSTATUS=2 GPUs",
        "STATUS=kubelet is absent",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1\nSTATUS=draining",
    ]
    assert notifier.problem == ""
    notifier.close()


def test_reloading_carries_the_monotonic_time(manager):
    """RELOADING comes in one message with the monotonic clock in microseconds, between before and after."""
    listening, name = manager
    before = time.monotonic_ns() // 1000
    notifier = Notifier(name)
    notifier.reloading()
    first, second = listening.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.close()


def test_the_environment_is_taken_out():
    """No child inherits the manager's address, and the watchdog counts only when it is meant for this process."""
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier.of(environment)
    assert environment == {"HOME": "/"}
    assert notifier.active
    assert notifier.watchdog_seconds == 30.0
    assert Notifier.of({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_seconds is None
    assert Notifier.of({"WATCHDOG_USEC": "-5"}).watchdog_seconds is None


def test_without_a_manager_nothing_happens():
    """In a shell every call is without effect; a manager that is gone is a problem in words, not an error."""
    silent = Notifier.of({})
    silent.ready("fine")
    assert (silent.active, silent.problem) == (False, "")
    gone = Notifier("/does/not/exist")
    gone.ready("fine")
    assert "cannot be notified" in gone.problem
    gone.close()
    assert "neither" in Notifier("vsock:2:1").problem


def test_a_deaf_manager_does_not_stop_us(tmp_path):
    """A manager that never reads does not hold us up for ever once its queue is full, and is told of."""
    name = str(tmp_path / "deaf")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        notifier = Notifier(name)
        for _ in range(2000):
            notifier.alive()
            if notifier.problem:
                break
        assert notifier.problem
        notifier.close()


def test_a_manager_that_never_reads_delays_nothing_that_is_said_again(tmp_path):
    """With the manager's queue full a status and a sign of life return at once, and the problem is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "deaf"))
        notifier = Notifier(str(tmp_path / "deaf"), 1.0)
        # A thousand waits of a second are longer than a test may take.
        for number in range(1000):
            notifier.status(f"status {number}")
            notifier.alive()
        assert "cannot be notified" in notifier.problem
        notifier.close()
