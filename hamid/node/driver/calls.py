# SPDX-License-Identifier: Apache-2.0
"""Raw NVML calls through nvidia-ml-py: hides its pitfalls and converts its errors to HamiError.

nvidia-ml-py raises for every code but SUCCESS; here NOT_SUPPORTED can be an answer (None), and the rest becomes
DriverMissing, NotPermitted, GpuLost or NvmlFailed.
"""

import ctypes
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import pynvml

from hamid.core.errors import DriverMissing, GpuLost, HamiError, NotPermitted, NvmlFailed

# nvidia-ml-py has no types: a handle is an opaque pointer, an answer is its return value. Any appears in this package
# only here.
Handle: TypeAlias = Any
Answer: TypeAlias = Any

BYTES_PER_MIB: Final = 1024 * 1024
ENABLED: Final = pynvml.NVML_DEVICE_MIG_ENABLE
NOT_FOUND: Final = pynvml.NVML_ERROR_NOT_FOUND
# What NVML puts for "outside every instance" (nvml.h: 0xFFFFFFFF).
NO_INSTANCE: Final = 0xFFFFFFFF
# Enums are counted up until INVALID_ARGUMENT; the bound guards against a driver that never says so.
MAX_ENUM: Final = 64
# More than any driver has ever returned for one profile; NVML writes without checking the array's length.
_SPARE: Final = 16
_PROCESS_LISTS: Final = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
)
# What a handle answers once its instance is gone.
VANISHED: Final = frozenset({pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND})
_LOST: Final = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})
_NO_DRIVER: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 was not found",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA library and kernel module have different versions",
    pynvml.NVML_ERROR_GPU_NOT_FOUND: "the NVIDIA driver found no GPU",
}
_NO_DRIVER_HINT: Final = "load or install the driver (nvidia-smi must work), or try --sim 2xA100-SXM4-40GB"
_PERMISSION_HINT: Final = "use sudo, join group hami if hamid is running, or try --sim"
_HINTS: Final = {
    pynvml.NVML_ERROR_IN_USE: "end what uses it: hamictl gpu list shows processes, and so do lsof or fuser on the "
    "/dev/nvidia files; monitors such as dcgm and nvsm hold GPUs too",
    pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES: "another program took the place in the meantime; plan again",
    pynvml.NVML_ERROR_GPU_IS_LOST: "the GPU fell off the bus: see dmesg for its Xid, then reset it or reboot",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU needs a reset: end its processes, then run nvidia-smi --gpu-reset",
}


class End:
    """The type of END."""


END: Final = End()
"""An enum beyond the driver's last."""


def call(function: str, *arguments: object, gpu: str = "") -> Answer:
    """One NVML call by the name of its C function (a `_v2` or `_v3` is found with or without). Raises HamiError."""
    try:
        return _resolve(function)(*arguments)
    except pynvml.NVMLError as error:
        raise translate(function, error, gpu=gpu) from error


def optional(function: str, *arguments: object, absent: int = pynvml.NVML_ERROR_NOT_SUPPORTED) -> Answer:
    """Like `call`, but None if the driver answers `absent` (default NOT_SUPPORTED)."""
    try:
        return _resolve(function)(*arguments)
    except pynvml.NVMLError as error:
        if error.value == absent:
            return None
        raise translate(function, error) from error


def probe(function: str, *arguments: object) -> Answer:
    """One query of an enumeration: the answer, None for a hole, or END behind the last."""
    try:
        return optional(function, *arguments)
    except NvmlFailed as error:
        if error.code == pynvml.NVML_ERROR_INVALID_ARGUMENT:
            return END
        raise


def translate(function: str, error: pynvml.NVMLError, *, gpu: str = "") -> HamiError:
    """An nvidia-ml-py error as a HamiError."""
    code = int(error.value)
    if code in _NO_DRIVER:
        return DriverMissing(_NO_DRIVER[code], _NO_DRIVER_HINT)
    if code == pynvml.NVML_ERROR_NO_PERMISSION:
        where = f" on {gpu}" if gpu else ""
        return NotPermitted(f"the driver refuses {function}{where} to this user (NVML {code})", _PERMISSION_HINT)
    kind = GpuLost if code in _LOST else NvmlFailed
    return kind(function, code, str(error), gpu=gpu, hint=_HINTS.get(code, ""))


def has_symbol(name: str) -> bool:
    """True when the loaded NVML library exports `name`."""
    return pynvml.nvmlLib is not None and hasattr(pynvml.nvmlLib, name)


def text(value: bytes | str) -> str:
    """A C string field as text; what is not UTF-8 is shown, not raised."""
    return value if isinstance(value, str) else value.decode(errors="backslashreplace")


def placements(device: Handle, profile_id: int) -> list[Answer]:
    """The placements that a profile may ever have on a device, occupied or not."""
    count = ctypes.c_uint(0)
    if optional("nvmlDeviceGetGpuInstancePossiblePlacements", device, profile_id, None, ctypes.byref(count)) is None:
        return []
    array = (pynvml.c_nvmlGpuInstancePlacement_t * (count.value + _SPARE))()
    call("nvmlDeviceGetGpuInstancePossiblePlacements", device, profile_id, array, ctypes.byref(count))
    return list(array[: count.value])


def gpu_instances(device: Handle, profile_id: int, most: int) -> list[Handle]:
    """Handles of the GPU instances made from a profile; `most` is the profile's maximum."""
    array = (pynvml.c_nvmlGpuInstance_t * (most + _SPARE))()
    count = ctypes.c_uint(0)
    call("nvmlDeviceGetGpuInstances", device, profile_id, array, ctypes.byref(count))
    return list(array[: count.value])


class ComputeProfile(NamedTuple):
    """What a compute instance may be made from, within one kind of GPU instance."""

    id: int
    slices: int
    most: int


def compute_profiles(gpu_instance: Handle) -> tuple[ComputeProfile, ...]:
    """Every compute-instance profile that a GPU instance offers."""
    found = []
    for enum in range(MAX_ENUM):
        info = probe("nvmlGpuInstanceGetComputeInstanceProfileInfo", gpu_instance, enum, 0, 2)
        if info is END:
            break
        if info is not None:
            found.append(ComputeProfile(int(info.id), int(info.sliceCount), int(info.instanceCount)))
    return tuple(found)


def compute_instances(gpu_instance: Handle, profiles: Iterable[ComputeProfile]) -> list[Handle]:
    """Handles of every compute instance in a GPU instance that offers these profiles."""
    found = [each for profile in profiles for each in _compute_instances(gpu_instance, profile)]
    # One compute instance may answer to two profiles of the same id.
    return list({ctypes.cast(each, ctypes.c_void_p).value: each for each in found}.values())


def _compute_instances(gpu_instance: Handle, profile: ComputeProfile) -> list[Handle]:
    array = (pynvml.c_nvmlComputeInstance_t * (profile.most + _SPARE))()
    count = ctypes.c_uint(0)
    call("nvmlGpuInstanceGetComputeInstances", gpu_instance, profile.id, array, ctypes.byref(count))
    return list(array[: count.value])


def compute_instance_id(compute_instance: Handle) -> int:
    """The id of a compute instance within its GPU instance."""
    return int(call("nvmlComputeInstanceGetInfo_v2", compute_instance).id)


def whole_compute_profile(gpu_instance: Handle, slices: int) -> int:
    """The id of the compute-instance profile that spans a GPU instance of so many compute slices."""
    for profile in compute_profiles(gpu_instance):
        if profile.slices == slices:
            return profile.id
    raise NvmlFailed(
        "nvmlGpuInstanceGetComputeInstanceProfileInfo",
        pynvml.NVML_ERROR_NOT_FOUND,
        f"no compute instance of {slices} slices",
    )


def create_gpu_instance(device: Handle, profile_id: int, start: int, size: int, *, gpu: str) -> Handle:
    """A GPU instance at exactly this placement."""
    # By reference: the binding passes on what it is given, and a structure by value crashes the process.
    placement = ctypes.byref(pynvml.c_nvmlGpuInstancePlacement_t(start, size))
    return call("nvmlDeviceCreateGpuInstanceWithPlacement", device, profile_id, placement, gpu=gpu)


def processes(device: Handle) -> list[Answer] | None:
    """Every process that the driver reports on a device and its instances; None if it does not tell."""
    found: list[Answer] = []
    answered = False
    for function in _PROCESS_LISTS:
        answer = optional(function, device)
        answered = answered or answer is not None
        found.extend(answer or ())
    return found if answered else None


def _resolve(function: str) -> Callable[..., Answer]:
    """The binding of a C function; nvidia-ml-py leaves the version off where it has only one."""
    found: Callable[..., Answer] | None = getattr(pynvml, function, None) or getattr(
        pynvml, function.rsplit("_v", 1)[0], None
    )
    if found is None:
        raise NvmlFailed(function, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, "not in this nvidia-ml-py")
    return found
