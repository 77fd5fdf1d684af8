# SPDX-License-Identifier: Apache-2.0
"""hamid ends soon, also while the driver hangs, and leaves no half-made grant."""

import socket
import threading

import pytest
from support.waiting import until

from hamid.node.simulation import control
from hamid.testing.kubelet import AdmissionError


@pytest.fixture
def manager(tmp_path):
    """A service manager's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end:
        end.bind(str(tmp_path / "notify"))
        yield end


def heard(manager):
    """Everything that was said since the last time."""
    said = []
    while True:
        try:
            said.append(manager.recv(4096).decode())
        except BlockingIOError:
            return said


def test_a_driver_that_hangs_starves_no_watchdog_and_delays_no_end(hamid, manager):
    """While a reading hangs the manager hears signs of life, /livez is ok, and SIGTERM ends hamid."""
    node = hamid()
    node.start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="30000000")
    node.kubelet.wait_for(20)
    control.add_fault("nvmlDeviceGetMigMode=hang", state=str(node.state))
    node.reconciled(1)  # what has begun since then hangs
    heard(manager)
    for _ in range(3):
        until(lambda: any("WATCHDOG=1" in each for each in heard(manager)))
    assert node.get("/livez") == (200, "ok\n")
    assert node.stop() == 0
    assert any("STOPPING=1" in each for each in heard(manager))


@pytest.mark.parametrize("slow", ["latency:1500", "hang"], ids=["ends in time", "does not"])
def test_an_allocate_in_flight_is_finished_or_undone(hamid, slow):
    """SIGTERM within Allocate: kubelet gets an answer or an error, and no instance stays without a claim."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    kept = node.uuids(node.add("kept"))
    control.add_fault(f"nvmlGpuInstanceCreateComputeInstance={slow}", state=str(node.state))
    outcome = []

    def admit():
        try:
            outcome.append(node.add("late"))
        except AdmissionError as error:
            outcome.append(error)

    thread = threading.Thread(target=admit)
    thread.start()
    until(lambda: any(claim.pending for claim in node.facts().claims))
    assert node.stop() == 0
    thread.join(60)
    control.clear_faults(state=str(node.state))
    node.start()
    node.kubelet.wait_for(1)
    granted = kept if isinstance(outcome[0], AdmissionError) else [*kept, *node.uuids(outcome[0])]
    until(lambda: sorted(node.instances()) == sorted(granted))
    until(lambda: len(node.facts().claims) == len(granted))
