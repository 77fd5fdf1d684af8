# SPDX-License-Identifier: Apache-2.0
"""The operator's configuration of hamid, as one immutable value.

Every setting is defined here once: field, type, default, limits, HAMi's keys, what a change needs, and its description.
Parsing, `hamictl config show` and docs/config.md read it from `SETTINGS`.
"""

import difflib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Struct

from hamid.core.config.setting import Setting, TakesEffect, TextForm, settings_of
from hamid.core.hardware.gpu import Gpu
from hamid.core.planner.request import GpuPolicy, MemoryMatch, Policy
from hamid.core.planner.templates import TemplateTable


class Mode(StrEnum):
    """How a GPU is shared; `mps` is served as hami-core, as HAMi does."""

    HAMI_CORE = "hami-core"
    MIG = "mig"
    MPS = "mps"


class ForeignInstances(StrEnum):
    """What may happen to an idle instance that hamid did not create: keep it, give it to a container, destroy it."""

    KEEP = "keep"
    REUSE = "reuse"
    RECLAIM = "reclaim"


class Ambiguity(StrEnum):
    """What Allocate does when several containers may be calling: refuse, or take the oldest or newest pod."""

    # Kubelet adds a pod to its list right before it calls Allocate for it, so the newest is nearly always right.

    REFUSE = "refuse"
    OLDEST = "oldest"
    NEWEST = "newest"


class ListStrategy(StrEnum):
    """How a container learns which devices it has."""

    ENVVAR = "envvar"
    VOLUME_MOUNTS = "volume-mounts"


class CorePolicy(StrEnum):
    """When libvgpu limits cores: only when other processes want them, always, or never."""

    DEFAULT = "default"
    FORCE = "force"
    DISABLE = "disable"


class PodsSource(StrEnum):
    """Where hamid reads the node's pods."""

    NONE = "none"
    FILE = "file"
    KUBELET = "kubelet"


class LegacyMetrics(StrEnum):
    """Whether to also serve HAMi's older metric names; `auto` is on unless a HAMi scheduler serves them."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class LogForm(StrEnum):
    """The log format; `auto` chooses by the type of stderr."""

    AUTO = "auto"
    JOURNAL = "journal"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The minimum log level."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_S = Setting
_RESTART: Final = TakesEffect.RESTART
_IDLE_GPU: Final = TakesEffect.IDLE_GPU
_DAY: Final = 86_400
# More memory than any GPU has.
_MOST_MIB: Final = 1024 * 1024 * 1024


class ResourceNames(Struct, frozen=True, kw_only=True):
    """The resource names that containers request (HAMi's defaults)."""

    count: Annotated[str, _S("Number of GPUs", hami="resourceCountName")] = "nvidia.com/gpu"
    memory: Annotated[str, _S("Memory of each GPU", hami="resourceMemoryName")] = "nvidia.com/gpumem"
    memory_percentage: Annotated[str, _S("Memory of each GPU in percent", hami="resourceMemoryPercentageName")] = (
        "nvidia.com/gpumem-percentage"
    )
    cores: Annotated[str, _S("Cores of each GPU in percent", hami="resourceCoreName")] = "nvidia.com/gpucores"
    priority: Annotated[str, _S("Priority of the container's kernels", hami="resourcePriorityName")] = (
        "nvidia.com/priority"
    )


class Config(Struct, frozen=True, kw_only=True):
    """Every setting. `gpu_modes` and the filters name GPUs by index or uuid; a `default_memory_mib` of 0 is all."""

    node_name: Annotated[
        str, _S("This node's name in the cluster; if empty, NODE_NAME, else the host name", change=_RESTART)
    ] = ""
    resources: Annotated[ResourceNames, _S("Resource names that containers use in their requests", change=_RESTART)] = (
        ResourceNames()
    )
    default_memory_mib: Annotated[
        int,
        _S("MiB for a container that requests no memory; 0 means all", high=_MOST_MIB, hami="defaultMemory"),
    ] = 0
    default_cores_percent: Annotated[
        int, _S("Percent of cores for a container that requests none", high=100, hami="defaultCores")
    ] = 0
    memory_factor: Annotated[
        int,
        _S("Factor applied to memory requests given as a number", low=1, high=_MOST_MIB, hami="memoryFactor"),
    ] = 1
    mode: Annotated[Mode, _S("How GPUs are shared", change=_IDLE_GPU, node="operatingmode")] = Mode.HAMI_CORE
    gpu_modes: Annotated[Mapping[str, Mode], _S("Mode of individual GPUs, by index or UUID", change=_IDLE_GPU)] = {}
    filter_uuids: Annotated[
        tuple[str, ...], _S("GPUs that hamid does not manage, by UUID", node="filterdevices.uuid")
    ] = ()
    filter_indexes: Annotated[
        tuple[int, ...], _S("GPUs that hamid does not manage, by index", high=4096, node="filterdevices.index")
    ] = ()
    split_count: Annotated[
        int,
        _S(
            "Maximum number of containers that share a GPU",
            low=1,
            high=1000,
            hami="deviceSplitCount",
            node="devicesplitcount",
        ),
    ] = 10
    memory_scaling: Annotated[
        float,
        _S(
            "Ratio of allocatable to physical memory; above 1 oversubscribes",
            low=0.01,
            high=1000,
            hami="deviceMemoryScaling",
            node="devicememoryscaling",
        ),
    ] = 1.0
    core_scaling: Annotated[
        float,
        _S(
            "Ratio of allocatable to physical cores",
            low=0.01,
            high=1000,
            hami="deviceCoreScaling",
            node="devicecorescaling",
        ),
    ] = 1.0
    preconfigured_memory_mib: Annotated[
        int,
        _S(
            "Memory in MiB of a GPU whose driver does not report it",
            high=_MOST_MIB,
            hami="preConfiguredDeviceMemory",
            node="preconfigureddevicememory",
        ),
    ] = 0
    cuda_log_level: Annotated[
        int, _S("LIBCUDA_LOG_LEVEL in containers", high=4, hami="libCudaLogLevel", node="libcudaloglevel")
    ] = 1
    core_policy: Annotated[CorePolicy, _S("When libvgpu limits cores", hami="gpuCorePolicy")] = CorePolicy.DEFAULT
    disable_core_limit: Annotated[bool, _S("Never limit cores", hami="disableCoreLimit")] = False
    numa_topology: Annotated[
        bool, _S("Report each GPU's NUMA node to kubelet", hami="enableNumaTopology", node="enablenumatopology")
    ] = False
    preferred_allocation: Annotated[
        bool, _S("Steer kubelet to the GPU that the planner would choose", node="enablegetpreferredallocation")
    ] = True
    policy: Annotated[Policy, _S("How MIG instances are placed")] = Policy.TEMPLATE
    gpu_policy: Annotated[GpuPolicy, _S("Which GPU is tried first")] = GpuPolicy.BINPACK
    memory_match: Annotated[MemoryMatch, _S("Whose memory figures must satisfy a request")] = MemoryMatch.TEMPLATE
    foreign_instances: Annotated[
        ForeignInstances, _S("What hamid may do with idle instances that it did not create")
    ] = ForeignInstances.REUSE
    on_ambiguity: Annotated[Ambiguity, _S("What Allocate does when it cannot tell which container it serves")] = (
        Ambiguity.REFUSE
    )
    allocate_deadline_seconds: Annotated[float, _S("Deadline of an Allocate call, in seconds", low=1, high=600)] = 25.0
    driver_timeout_seconds: Annotated[
        float,
        _S(
            "Deadline of a driver call, in seconds; past it the GPU is marked as hung", change=_RESTART, low=1, high=600
        ),
    ] = 25.0
    reconcile_seconds: Annotated[float, _S("Seconds between two reconciliations", low=0.1, high=5)] = 5.0
    absent_seconds: Annotated[
        float, _S("A pod is over when two complete lists this many seconds apart omit it", low=30, high=_DAY)
    ] = 30.0
    kubelet_settle_seconds: Annotated[
        float, _S("Pod lists count as incomplete until kubelet has run this many seconds", change=_RESTART, high=_DAY)
    ] = 60.0
    hook_path: Annotated[
        str, _S("Directory of libvgpu, on the node and in containers", change=_RESTART, form=TextForm.PATH)
    ] = "/usr/local"
    device_list_strategy: Annotated[ListStrategy, _S("How a container learns which devices it has")] = (
        ListStrategy.ENVVAR
    )
    pass_device_specs: Annotated[bool, _S("Give containers the device nodes")] = True
    pods_source: Annotated[PodsSource, _S("Where hamid reads the node's pods", change=_RESTART)] = PodsSource.NONE
    pods_file: Annotated[str, _S("PodList file (JSON) for pods_source: file", change=_RESTART, form=TextForm.PATH)] = ""
    kubelet_url: Annotated[str, _S("URL of kubelet's pod list for pods_source: kubelet", change=_RESTART)] = (
        "https://127.0.0.1:10250/pods"
    )
    kubelet_token_file: Annotated[str, _S("Bearer token file for kubelet", change=_RESTART, form=TextForm.PATH)] = ""
    kubelet_ca_file: Annotated[str, _S("CA that signs kubelet's certificate", change=_RESTART, form=TextForm.PATH)] = ""
    kubelet_client_cert_file: Annotated[
        str, _S("Client certificate for kubelet", change=_RESTART, form=TextForm.PATH)
    ] = ""
    kubelet_client_key_file: Annotated[
        str, _S("Key of the client certificate", change=_RESTART, form=TextForm.PATH)
    ] = ""
    kubelet_insecure: Annotated[bool, _S("Do not verify kubelet's certificate", change=_RESTART)] = False
    health_checks: Annotated[bool, _S("Watch driver events for sick GPUs", change=_RESTART)] = True
    health_recovery_seconds: Annotated[
        float, _S("Seconds without events until a sick GPU serves again; 0 waits for a restart", high=_DAY)
    ] = 600.0
    ignored_xids: Annotated[
        tuple[int, ...], _S("Xids that do not make a GPU sick, in addition to HAMi's list", high=1000000)
    ] = ()
    metrics_address: Annotated[
        str, _S("HOST:PORT of /metrics, /livez, /readyz; empty disables them", change=_RESTART, form=TextForm.ADDRESS)
    ] = "0.0.0.0:9394"
    legacy_metrics: Annotated[LegacyMetrics, _S("Also serve HAMi's older metric names")] = LegacyMetrics.AUTO
    log_format: Annotated[LogForm, _S("Log format", change=_RESTART)] = LogForm.AUTO
    log_level: Annotated[LogLevel, _S("Minimum log level")] = LogLevel.INFO

    # Not a setting: it comes from device-config.yaml or is built in.
    templates: TemplateTable = TemplateTable(entries=(), aliases={}, source="no templates")

    def mode_of(self, gpu: Gpu) -> Mode:
        """How this GPU is shared: its own mode by uuid or index, else the node's."""
        return self.gpu_modes.get(gpu.uuid) or self.gpu_modes.get(str(gpu.index)) or self.mode

    def serves(self, gpu: Gpu) -> bool:
        """False for a GPU that the filters take out."""
        return gpu.uuid not in self.filter_uuids and gpu.index not in self.filter_indexes


SETTINGS: Final = settings_of(Config)
BY_NAME: Final = {each.name: each for each in SETTINGS}
RESOURCE_KEYS: Final = {each.hami: each.name for each in settings_of(ResourceNames)}


def nearest(name: str) -> str:
    """A suggestion for a mistyped setting, or nothing."""
    near = difflib.get_close_matches(name[:80], BY_NAME, n=1)
    return f"did you mean {near[0]}?" if near else ""
