# SPDX-License-Identifier: Apache-2.0
"""A request to the planner, and which profiles of a GPU satisfy it."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.hardware.geometry import PROFILE_NAME
from hamid.core.hardware.profile import Profile
from hamid.core.units import PERCENT, Memory

# More devices than one node has.
MAX_DEVICES: Final = 4096


class Policy(StrEnum):
    """How profiles and starts are chosen: from whole-GPU templates as HAMi does, or any legal placement."""

    TEMPLATE = "template"
    PACKED = "packed"


class GpuPolicy(StrEnum):
    """Which GPU comes first: one in use (binpack) or an idle one (spread)."""

    BINPACK = "binpack"
    SPREAD = "spread"


class MemoryMatch(StrEnum):
    """Whose figures for a profile count: the template's, as in HAMi, or NVML's."""

    TEMPLATE = "template"
    NVML = "nvml"


class Request(Struct, frozen=True, kw_only=True):
    """`count` instances, each with at least `memory` and `cores_percent`, or of the named `profile`.

    `gpus` and `models` select GPUs (none: every GPU). `enable_mig` allows switching MIG on, `reclaim_idle`
    destroying idle foreign instances; `same_gpu` forbids spreading one request over several GPUs.
    """

    count: int
    memory: Memory | None = None
    cores_percent: int = 0
    profile: str | None = None
    policy: Policy = Policy.TEMPLATE
    memory_match: MemoryMatch = MemoryMatch.TEMPLATE
    gpu_policy: GpuPolicy = GpuPolicy.BINPACK
    gpus: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    same_gpu: bool = False
    enable_mig: bool = True
    reclaim_idle: bool = False

    @property
    def size(self) -> str:
        """One instance as text: `8000 MiB`, `8000 MiB and 30% cores`, `profile 1g.10gb+me`."""
        parts = [f"profile {self.profile}"] if self.profile else []
        parts += [str(self.memory)] if self.memory else []
        parts += [f"{self.cores_percent}% cores"] if self.cores_percent else []
        return " and ".join(parts)

    @property
    def wanted(self) -> str:
        """The whole request as text: `2 x 8000 MiB`."""
        return self.times(self.count)

    def times(self, count: int) -> str:
        """This many instances of the requested size, as text; for the part of a request that one GPU serves."""
        return f"{count} x {self.size}"


class Size(Struct, frozen=True):
    """What a profile offers as this request counts it: memory in MiB and cores in percent of the GPU."""

    profile: Profile
    memory_mib: int
    cores_percent: int

    @property
    def order(self) -> tuple[int, int, int]:
        """Smaller is a smaller instance: memory, then compute slices, then profile id."""
        return (self.memory_mib, self.profile.compute_slices, self.profile.profile_id)


def satisfies(size: Size, request: Request, gpu_memory_mib: int) -> bool:
    """True when one instance of that size is enough; profiles with a suffix must be requested by name."""
    named = not size.profile.suffix if request.profile is None else size.profile.name == request.profile
    memory_mib = 0 if request.memory is None else request.memory.of(gpu_memory_mib)
    return named and size.memory_mib >= memory_mib and size.cores_percent >= request.cores_percent


def nvml_size(profile: Profile, whole_multiprocessors: int) -> Size:
    """A profile by the driver's own figures; cores as its share of the GPU's multiprocessors, rounded up."""
    cores = -(-profile.multiprocessors * PERCENT // whole_multiprocessors) if whole_multiprocessors else 0
    return Size(profile, profile.memory_mib, cores)


def make_request(
    *,
    count: int,
    memory: Memory | None = None,
    profile: str | None = None,
    cores_percent: int = 0,
    policy: Policy = Policy.TEMPLATE,
    memory_match: MemoryMatch | None = None,
    gpu_policy: GpuPolicy = GpuPolicy.BINPACK,
    gpus: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
    same_gpu: bool = False,
    enable_mig: bool = True,
    reclaim_idle: bool = False,
) -> Request:
    """Make a validated Request; raises UsageError for invalid values or combinations.

    Memory is matched against the template's figures under policy template and NVML's under packed, unless said.
    """
    if memory is None and profile is None:
        raise UsageError("missing --mem or --profile", "use --mem SIZE or --profile NAME")
    default_match = MemoryMatch.TEMPLATE if policy is Policy.TEMPLATE else MemoryMatch.NVML
    return Request(
        count=in_range("count", count, 1, MAX_DEVICES),
        memory=memory,
        cores_percent=in_range("cores", cores_percent, 0, PERCENT),
        profile=None if profile is None else _profile_name(profile),
        policy=policy,
        memory_match=memory_match or default_match,
        gpu_policy=gpu_policy,
        gpus=gpus,
        models=models,
        same_gpu=same_gpu,
        enable_mig=enable_mig,
        reclaim_idle=reclaim_idle,
    )


def in_range(name: str, value: int, low: int, high: int) -> int:
    """The value; raises UsageError where it is outside."""
    if not low <= value <= high:
        raise UsageError(f"{name} {value} is outside {low}..{high}")
    return value


def _profile_name(name: str) -> str:
    if not PROFILE_NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a profile name", "a profile looks like 2g.10gb or 1g.5gb+me")
    return name
