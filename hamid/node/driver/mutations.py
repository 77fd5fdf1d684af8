# SPDX-License-Identifier: Apache-2.0
"""The changes of the driver's state, one NVML mutation per function.

No handle outlives a function, since a change of MIG mode makes every one invalid; each function finds its
GPU by index and checks the uuid, and its instance by profile and start. Nothing here decides whether it may.
"""

from collections.abc import Iterator

from hamid.core.errors import NodeError, NvmlFailed
from hamid.core.hardware.profile import Placement
from hamid.node.driver import calls, nvml, profiles

# More than any board has of one profile.
_MOST_INSTANCES = 64


def start_driver() -> None:
    """One reference to the driver; raises DriverMissing, NotPermitted or NvmlFailed."""
    calls.call("nvmlInit_v2")
    profiles.forget()


def stop_driver() -> None:
    """Release the reference to the driver."""
    calls.call("nvmlShutdown")


def set_mode(gpu_uuid: str, index: int, *, enabled: bool) -> int:
    """Request a MIG mode; return the activation status, 0 if the mode is in effect."""
    device, gpu = _device(gpu_uuid, index)
    return int(calls.call("nvmlDeviceSetMigMode", device, int(enabled), gpu=gpu))


def create_gpu_instance(gpu_uuid: str, index: int, profile_id: int, placement: Placement) -> None:
    """Create a GPU instance at exactly this placement, without a compute instance."""
    device, gpu = _device(gpu_uuid, index)
    calls.create_gpu_instance(device, profile_id, placement.start, placement.size, gpu=gpu)


def create_compute_instance(gpu_uuid: str, index: int, profile_id: int, start: int, slices: int) -> None:
    """Create the one compute instance that spans the GPU instance there."""
    instance, gpu = _instance(gpu_uuid, index, profile_id, start)
    profile = calls.whole_compute_profile(instance, slices)
    calls.call("nvmlGpuInstanceCreateComputeInstance", instance, profile, gpu=gpu)


def destroy_compute_instance(gpu_uuid: str, index: int, profile_id: int, start: int) -> None:
    """Destroy the compute instances of the GPU instance there, if it has any."""
    instance, gpu = _instance(gpu_uuid, index, profile_id, start)
    for each in calls.compute_instances(instance, calls.compute_profiles(instance)):
        calls.call("nvmlComputeInstanceDestroy", each, gpu=gpu)


def destroy_gpu_instance(gpu_uuid: str, index: int, profile_id: int, start: int) -> None:
    """Destroy the GPU instance there, which has no compute instance left."""
    instance, gpu = _instance(gpu_uuid, index, profile_id, start)
    calls.call("nvmlGpuInstanceDestroy", instance, gpu=gpu)


def _device(gpu_uuid: str, index: int) -> tuple[calls.Handle, str]:
    """The GPU's handle and what to call it; indices may have moved since the plan was made."""
    for each in _indices(index):
        device = calls.call("nvmlDeviceGetHandleByIndex_v2", each, gpu=f"GPU {each}")
        if calls.call("nvmlDeviceGetUUID", device, gpu=f"GPU {each}") == gpu_uuid:
            return device, f"GPU {each}"
    raise NodeError(f"GPU {gpu_uuid} does not exist", "list the GPUs with: hamictl gpu list")


def _indices(first: int) -> Iterator[int]:
    yield first
    yield from (index for index in range(nvml.count()) if index != first)


def _instance(gpu_uuid: str, index: int, profile_id: int, start: int) -> tuple[calls.Handle, str]:
    device, gpu = _device(gpu_uuid, index)
    for each in calls.gpu_instances(device, profile_id, _MOST_INSTANCES):
        if calls.call("nvmlGpuInstanceGetInfo", each, gpu=gpu).placement.start == start:
            return each, gpu
    raise NvmlFailed("nvmlDeviceGetGpuInstances", calls.NOT_FOUND, f"no instance of profile {profile_id} at {start}")
