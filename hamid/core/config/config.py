# SPDX-License-Identifier: Apache-2.0
"""What the operator wants of hamid, as one immutable value."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from hamid.core.hardware.gpu import Gpu
from hamid.core.planner.request import GpuPolicy, MemoryMatch, Policy
from hamid.core.planner.templates import TemplateTable


class Mode(StrEnum):
    """How a GPU is shared; `mps` is served as hami-core, as HAMi does."""

    HAMI_CORE = "hami-core"
    MIG = "mig"
    MPS = "mps"


class ForeignInstances(StrEnum):
    """What may happen to an idle instance that somebody else made: nothing, be given away, be destroyed for room."""

    KEEP = "keep"
    REUSE = "reuse"
    RECLAIM = "reclaim"


class Ambiguity(StrEnum):
    """What happens when nobody can tell which container asks: refuse, the oldest pod, the newest (kubelet's order)."""

    # Kubelet adds a pod to its list right before it asks for it: with that list the newest is nearly always right.

    REFUSE = "refuse"
    OLDEST = "oldest"
    NEWEST = "newest"


class ListStrategy(StrEnum):
    """How a container is told its devices."""

    ENVVAR = "envvar"
    VOLUME_MOUNTS = "volume-mounts"


class CorePolicy(StrEnum):
    """When libvgpu limits cores: when others want them, always, never."""

    DEFAULT = "default"
    FORCE = "force"
    DISABLE = "disable"


class PodsSource(StrEnum):
    """Who tells which pods are on the node."""

    NONE = "none"
    FILE = "file"
    KUBELET = "kubelet"


class LegacyMetrics(StrEnum):
    """Whether HAMi's older metric names are served too; `auto` is on unless a HAMi scheduler serves them."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class LogForm(StrEnum):
    """How the log looks; `auto` chooses by what stderr is."""

    AUTO = "auto"
    JOURNAL = "journal"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ResourceNames(Struct, frozen=True, kw_only=True):
    """The names under which containers ask (HAMi's defaults)."""

    count: str = "nvidia.com/gpu"
    memory: str = "nvidia.com/gpumem"
    memory_percentage: str = "nvidia.com/gpumem-percentage"
    cores: str = "nvidia.com/gpucores"
    priority: str = "nvidia.com/priority"


class Config(Struct, frozen=True, kw_only=True):
    """Every setting. `gpu_modes` and the filters name GPUs by index or uuid; a `default_memory_mib` of 0 is all."""

    node_name: str = ""
    resources: ResourceNames = ResourceNames()
    default_memory_mib: int = 0
    default_cores_percent: int = 0
    memory_factor: int = 1

    mode: Mode = Mode.HAMI_CORE
    gpu_modes: Mapping[str, Mode] = {}
    filter_uuids: tuple[str, ...] = ()
    filter_indexes: tuple[int, ...] = ()
    split_count: int = 10
    memory_scaling: float = 1.0
    core_scaling: float = 1.0
    preconfigured_memory_mib: int = 0
    cuda_log_level: int = 1
    core_policy: CorePolicy = CorePolicy.DEFAULT
    disable_core_limit: bool = False
    numa_topology: bool = False
    preferred_allocation: bool = True

    templates: TemplateTable = TemplateTable(entries=(), aliases={}, source="no templates")
    policy: Policy = Policy.TEMPLATE
    gpu_policy: GpuPolicy = GpuPolicy.BINPACK
    memory_match: MemoryMatch = MemoryMatch.TEMPLATE
    foreign_instances: ForeignInstances = ForeignInstances.REUSE
    on_ambiguity: Ambiguity = Ambiguity.REFUSE

    allocate_deadline_seconds: float = 25.0
    driver_timeout_seconds: float = 25.0
    reconcile_seconds: float = 5.0
    absent_seconds: float = 30.0
    kubelet_settle_seconds: float = 60.0

    hook_path: str = "/usr/local"
    device_list_strategy: ListStrategy = ListStrategy.ENVVAR
    pass_device_specs: bool = True

    pods_source: PodsSource = PodsSource.NONE
    pods_file: str = ""
    kubelet_url: str = "https://127.0.0.1:10250/pods"
    kubelet_token_file: str = ""
    kubelet_ca_file: str = ""
    kubelet_client_cert_file: str = ""
    kubelet_client_key_file: str = ""
    kubelet_insecure: bool = False

    health_checks: bool = True
    ignored_xids: tuple[int, ...] = ()
    health_recovery_seconds: float = 600.0

    metrics_address: str = "0.0.0.0:9394"
    legacy_metrics: LegacyMetrics = LegacyMetrics.AUTO
    log_format: LogForm = LogForm.AUTO
    log_level: LogLevel = LogLevel.INFO

    def mode_of(self, gpu: Gpu) -> Mode:
        """How this GPU is shared: its own mode by uuid or index, else the node's."""
        return self.gpu_modes.get(gpu.uuid) or self.gpu_modes.get(str(gpu.index)) or self.mode

    def serves(self, gpu: Gpu) -> bool:
        """False for a GPU that the filters take out."""
        return gpu.uuid not in self.filter_uuids and gpu.index not in self.filter_indexes
