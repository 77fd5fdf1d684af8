# SPDX-License-Identifier: Apache-2.0
"""What a board can be divided into, asked of NVML once per start of the driver.

It does not change while the driver is loaded, and asking would be most of a reading. A call that hung over a new start
puts nothing back: what it brings belongs to the driver that it was asked of.
"""

from hamid.core.hardware.profile import Engines, Placement, Profile
from hamid.node.driver import calls as nvml


class _Known:
    """What the driver said since it was last loaded."""

    def __init__(self) -> None:
        # By UUID and MIG mode, since a driver may tell only while the mode is on.
        self.profiles: dict[tuple[str, bool], tuple[Profile, ...]] = {}
        # By UUID and the profile of the GPU instance.
        self.compute: dict[tuple[str, int], tuple[nvml.ComputeProfile, ...]] = {}


_known = _Known()


def forget() -> None:
    """Forget everything: the driver was loaded again, perhaps in another version."""
    global _known
    _known = _Known()


def of_gpu(uuid: str, device: nvml.Handle, *, enabled: bool) -> tuple[Profile, ...]:
    """The GPU-instance profiles of a device in this MIG mode, with the placements that each may ever have."""
    known = _known.profiles
    found = known.get((uuid, enabled)) or _profiles(device)
    known[uuid, enabled] = found
    return found


def of_instance(uuid: str, profile_id: int, gpu_instance: nvml.Handle) -> tuple[nvml.ComputeProfile, ...]:
    """The compute-instance profiles that a GPU instance of this profile offers."""
    known = _known.compute
    found = known.get((uuid, profile_id)) or nvml.compute_profiles(gpu_instance)
    known[uuid, profile_id] = found
    return found


def _profiles(handle: nvml.Handle) -> tuple[Profile, ...]:
    """All profiles: NVML asks to count up the query enum until INVALID_ARGUMENT; NOT_SUPPORTED is a hole."""
    found = []
    for enum in range(nvml.MAX_ENUM):
        info = nvml.probe("nvmlDeviceGetGpuInstanceProfileInfo", handle, enum, 2)
        if info is nvml.END:
            break
        placements = () if info is None else _placements(handle, info.id)
        if info is not None and placements:
            found.append(_profile(info, placements))
    return tuple(found)


def _profile(info: nvml.Answer, placements: tuple[Placement, ...]) -> Profile:
    return Profile(
        # nvidia-smi prints the name with a leading "MIG " on devices only; the profile's own name is bare.
        name=nvml.text(info.name).removeprefix("MIG "),
        profile_id=info.id,
        memory_mib=info.memorySizeMB,
        compute_slices=info.sliceCount,
        multiprocessors=info.multiprocessorCount,
        max_instances=info.instanceCount,
        placements=placements,
        copy_engines=info.copyEngineCount,
        engines=Engines(decoders=info.decoderCount, encoders=info.encoderCount, jpeg=info.jpegCount, ofa=info.ofaCount),
    )


def _placements(handle: nvml.Handle, profile_id: int) -> tuple[Placement, ...]:
    raw = nvml.placements(handle, profile_id)
    return tuple(sorted(Placement(start=place.start, size=place.size) for place in raw))
