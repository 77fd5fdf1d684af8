# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import threading

import pynvml
import pytest
from support import migtools
from support.waiting import LIMIT_SECONDS, is_blocked_in, until

from hamid.node.paths import native_file
from hamid.node.simulation import control

A100 = "A100-SXM4-40GB"
XID, MIG_CHANGE = pynvml.nvmlEventTypeXidCriticalError, 0x100
LIBRARY = native_file("simulator/libnvidia-ml.so.1")


def wait(events, milliseconds=2000):
    """The next event as (type, data, GI id, CI id)."""
    event = pynvml.nvmlEventSetWait_v2(events, milliseconds)
    return event.eventType, event.eventData, event.gpuInstanceId, event.computeInstanceId


@pytest.fixture
def watched(mig_gpu):
    """A GPU with a MIG device and an event set that listens to it."""
    device = mig_gpu(A100)
    migtools.whole(device, 14, 1, 2, 2)
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(device, XID | MIG_CHANGE, events)
    yield device, events
    pynvml.nvmlEventSetFree(events)


def test_events_name_the_instance(watched):
    """An Xid on a GPU is everybody's, one on a MIG device carries its ids; old events are not repeated."""
    device, events = watched
    assert migtools.fails(pynvml.NVML_ERROR_TIMEOUT, wait, events, 0)
    control.post_xid(pynvml.nvmlDeviceGetUUID(device), 48)
    control.post_xid(pynvml.nvmlDeviceGetUUID(migtools.mig_devices(device)[0]), 94)
    assert wait(events) == (XID, 48, 0xFFFFFFFF, 0xFFFFFFFF)
    assert wait(events) == (XID, 94, 4, 0)
    assert migtools.fails(pynvml.NVML_ERROR_TIMEOUT, wait, events, 0)


def test_changes_of_instances_are_events(watched):
    """Creating and destroying an instance is a MIG configuration change of that GPU."""
    device, events = watched
    instance = migtools.create(device, 19, 0, 1)
    assert wait(events) == (MIG_CHANGE, 0, 7, 0xFFFFFFFF)
    pynvml.nvmlGpuInstanceDestroy(instance)
    assert wait(events) == (MIG_CHANGE, 0, 7, 0xFFFFFFFF)


def test_waiting_ends_with_an_event_of_another_process(watched):
    """A waiting process wakes when another process posts an Xid, and blocks no other process."""
    device, events = watched
    code = f"import ctypes; l = ctypes.CDLL({LIBRARY!r})\n"
    code += f"exit(l.hami_sim_xid({os.environ['HAMI_SIM_STATE'].encode()!r}, "
    code += f"{pynvml.nvmlDeviceGetUUID(device).encode()!r}, 79, None, 0))"
    main = threading.get_native_id()

    def post():
        until(lambda: is_blocked_in("futex", thread=main))
        subprocess.run([sys.executable, "-c", code], check=True)

    other = threading.Thread(target=post)
    other.start()
    assert wait(events, 60_000)[:2] == (XID, 79)
    other.join()


def test_waiting_holds_no_lock(watched):
    """While one thread waits for events another one works."""
    device, events = watched
    found = []
    waiter = threading.Thread(target=lambda: found.append(wait(events, 60_000)))
    waiter.start()
    until(lambda: is_blocked_in("futex", thread=waiter.native_id))
    for _ in range(100):
        pynvml.nvmlDeviceGetMigMode(device)
    control.post_xid(pynvml.nvmlDeviceGetUUID(device), 31)
    waiter.join(LIMIT_SECONDS)
    assert found == [(XID, 31, 0xFFFFFFFF, 0xFFFFFFFF)]


def test_a_set_gets_what_it_asked_for(mig_gpu):
    """Events of unregistered types and GPUs are skipped, and an unsupported registration is refused."""
    device = mig_gpu(A100, count=2)
    other = pynvml.nvmlDeviceGetHandleByIndex(1)
    events = pynvml.nvmlEventSetCreate()
    supported = pynvml.nvmlDeviceGetSupportedEventTypes(device)
    assert supported & XID
    pynvml.nvmlDeviceRegisterEvents(device, pynvml.nvmlEventTypeDoubleBitEccError, events)
    assert migtools.fails(pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.nvmlDeviceRegisterEvents, device, 1 << 40, events)
    control.post_xid(pynvml.nvmlDeviceGetUUID(device), 31)
    control.post_ecc(pynvml.nvmlDeviceGetUUID(other), uncorrected=True)
    control.post_ecc(pynvml.nvmlDeviceGetUUID(device), 3, uncorrected=True)
    assert wait(events)[0] == pynvml.nvmlEventTypeDoubleBitEccError
    assert migtools.fails(pynvml.NVML_ERROR_TIMEOUT, wait, events, 0)
    assert pynvml.nvmlDeviceGetTotalEccErrors(device, 1, 0) == 3
    pynvml.nvmlEventSetFree(events)
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, wait, events, 0)
    assert migtools.fails(pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.nvmlEventSetFree, events)


def test_a_gpu_that_falls_off_posts_its_xid(watched):
    """Losing a GPU posts Xid 79, as the kernel driver reports it."""
    device, events = watched
    control.set_knob("lost", "1", uuid=pynvml.nvmlDeviceGetUUID(device))
    assert wait(events)[:2] == (XID, 79)
