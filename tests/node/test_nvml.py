# SPDX-License-Identifier: Apache-2.0
"""hamid.node.driver.nvml against the simulated driver."""

import ctypes
import threading

import pynvml
import pytest
from support.narrow import present
from support.waiting import LIMIT_SECONDS

from hamid.core.errors import DriverMissing, NvmlFailed
from hamid.core.hardware.gpu import Health
from hamid.engine.driver.observe import observe
from hamid.node.driver import mutations, nvml, profiles
from hamid.node.simulation import control
from hamid.testing.boards import known_boards, profiles_of


@pytest.fixture
def visit(monkeypatch):
    """Points NVML at throw-away nodes, one after another in this process."""
    control.preload()

    def to(spec):
        monkeypatch.setenv("HAMI_SIM_NODE", spec)

    return to


@pytest.mark.parametrize("board", known_boards())
def test_discovery_finds_exactly_what_the_data_says(visit, board):
    """Every profile with all its numbers and placements comes through NVML unchanged, and nothing else does."""
    visit(f"1x{board}")
    (gpu,) = observe().gpus
    assert sorted(gpu.profiles, key=lambda p: p.order) == sorted(profiles_of(board), key=lambda p: p.order)
    assert (gpu.mig_capable, gpu.mig_enabled, gpu.mig_pending) == (True, False, False)


def test_one_process_visits_many_nodes(visit):
    """NVML's variables are read at each init, so that observation follows them and init is balanced."""
    for spec, count in (("3xA30", 3), ("1xH200,1xA30", 2), ("32xA30", 32)):
        visit(spec)
        assert len(observe().gpus) == count


def test_no_node_is_a_missing_driver(visit, monkeypatch):
    """Without a driver there is one clear error, not a crash, and a later node is found again."""
    visit("1xA30")
    monkeypatch.delenv("HAMI_SIM_NODE")
    with pytest.raises(DriverMissing):
        observe()
    visit("1xA30")
    assert observe().simulated


def test_instances_are_told_with_whole_identity(visit):
    """An instance has its profile, placement, ids and uuid; without one compute instance there is no uuid."""
    visit("1xA100-SXM4-40GB")
    pynvml.nvmlInit()
    try:
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceSetMigMode(device, 1)
        half = pynvml.c_nvmlGpuInstancePlacement_t(4, 4)
        whole = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(device, 9, ctypes.byref(half))
        pynvml.nvmlGpuInstanceCreateComputeInstance(whole, 2)
        quarter = pynvml.nvmlDeviceCreateGpuInstance(device, 14)
        shared = pynvml.nvmlDeviceCreateGpuInstance(device, 14)
        for _ in range(2):
            pynvml.nvmlGpuInstanceCreateComputeInstance(shared, 0)
        instances = observe().gpus[0].instances
    finally:
        pynvml.nvmlShutdown()
    by_count = {instance.compute_instances: instance for instance in instances}
    assert (by_count[1].profile, by_count[1].placement.start, by_count[1].ci_id) == ("3g.20gb", 4, 0)
    assert present(by_count[1].mig_uuid).startswith("MIG-")
    assert (by_count[0].mig_uuid, by_count[0].ci_id) == (None, None)
    assert (by_count[2].mig_uuid, by_count[2].ci_id) == (None, None)
    assert quarter is not None


def test_init_and_shutdown_are_balanced(visit):
    """After an observation NVML is down again, however often it ran."""
    visit("1xA30")
    for _ in range(3):
        observe()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()


def test_a_gpu_that_answers_is_healthy(visit):
    """The ordinary case has no note and reads as ok."""
    visit("2xA30")
    assert [(gpu.health, gpu.note) for gpu in observe().gpus] == [(Health.OK, "")] * 2
    assert nvml.is_simulated()


class LateHandle:
    """A device whose calls begin, and go on when they may."""

    def __init__(self, handle):
        self._handle = handle
        self.asked, self.may = threading.Event(), threading.Event()

    @property
    def _as_parameter_(self):
        self.asked.set()
        assert self.may.wait(LIMIT_SECONDS)
        return self._handle


@pytest.fixture
def driver(visit):
    """A driver that is started and given back."""
    visit("1xA30")
    mutations.start_driver()
    yield
    control.clear_faults()
    mutations.stop_driver()


def test_what_a_late_call_brings_is_not_kept_for_the_next_driver(driver):
    """Profiles asked of one start of the driver, and told during the next, are asked for again."""
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    device, told = LateHandle(gpu), []
    late = threading.Thread(target=lambda: told.append(profiles.of_gpu("GPU-a", device, enabled=False)))
    late.start()
    assert device.asked.wait(LIMIT_SECONDS)
    profiles.forget()
    device.may.set()
    late.join()
    assert told[0]
    control.add_fault("nvmlDeviceGetGpuInstanceProfileInfo*@0=error:999")
    with pytest.raises(NvmlFailed):
        profiles.of_gpu("GPU-a", gpu, enabled=False)


def test_profiles_are_asked_for_once(driver):
    """A driver that fails afterwards does not matter."""
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    told = profiles.of_gpu("GPU-a", gpu, enabled=False)
    control.add_fault("nvmlDeviceGetGpuInstanceProfileInfo*@0=error:999")
    assert profiles.of_gpu("GPU-a", gpu, enabled=False) == told
