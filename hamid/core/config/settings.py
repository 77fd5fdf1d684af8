# SPDX-License-Identifier: Apache-2.0
"""Every setting of hamid: one table, from which parsing, `config show`, docs/config.md and reloads come.

Types and defaults stand in `Config`; here is what a value may be, where HAMi keeps it, and what a change of it needs.
"""

import difflib
from enum import StrEnum
from typing import Final

from msgspec import Struct


class TakesEffect(StrEnum):
    """What a changed setting needs: nothing, an idle GPU, or a new start of hamid."""

    NOW = "now"
    IDLE_GPU = "idle GPU"
    RESTART = "restart"


class Setting(Struct, frozen=True, kw_only=True):
    """A field of `Config`. `low` and `high` bound numbers.

    `hami` is its key in HAMi's device-config.yaml, `node` in HAMi's config.json.
    """

    name: str
    text: str
    change: TakesEffect = TakesEffect.NOW
    low: float = 0
    high: float = 0
    hami: str = ""
    node: str = ""


_S = Setting
_DAY: Final = 86_400
_MIB: Final = 1024 * 1024 * 1024

SETTINGS: Final = (
    _S(
        name="node_name",
        text="This node's name in the cluster; empty: NODE_NAME, else the host's",
        change=TakesEffect.RESTART,
    ),
    _S(name="resources", text="The resource names that containers ask by", change=TakesEffect.RESTART),
    _S(
        name="default_memory_mib",
        text="MiB for a container that names no memory; 0 is all",
        high=_MIB,
        hami="defaultMemory",
    ),
    _S(name="default_cores_percent", text="Cores for a container that names none", high=100, hami="defaultCores"),
    _S(name="memory_factor", text="What a number of memory is multiplied with", low=1, high=_MIB, hami="memoryFactor"),
    _S(name="mode", text="How GPUs are shared", change=TakesEffect.IDLE_GPU, node="operatingmode"),
    _S(name="gpu_modes", text="The mode of single GPUs, by index or UUID", change=TakesEffect.IDLE_GPU),
    _S(name="filter_uuids", text="GPUs that hamid leaves alone, by UUID"),
    _S(name="filter_indexes", text="GPUs that hamid leaves alone, by index", high=4096),
    _S(
        name="split_count",
        text="Containers that can share a GPU",
        low=1,
        high=1000,
        hami="deviceSplitCount",
        node="devicesplitcount",
    ),
    _S(
        name="memory_scaling",
        text="Memory promised per memory that is there; above 1 is oversubscription",
        low=0.01,
        high=1000,
        hami="deviceMemoryScaling",
        node="devicememoryscaling",
    ),
    _S(
        name="core_scaling",
        text="Cores promised per core that is there",
        low=0.01,
        high=1000,
        hami="deviceCoreScaling",
        node="devicecorescaling",
    ),
    _S(
        name="preconfigured_memory_mib",
        text="MiB of a GPU whose driver does not say it",
        high=_MIB,
        hami="preConfiguredDeviceMemory",
        node="preconfigureddevicememory",
    ),
    _S(
        name="cuda_log_level",
        text="LIBCUDA_LOG_LEVEL of containers",
        high=4,
        hami="libCudaLogLevel",
        node="libcudaloglevel",
    ),
    _S(name="core_policy", text="When libvgpu limits cores", hami="gpuCorePolicy"),
    _S(name="disable_core_limit", text="Never limit cores", hami="disableCoreLimit"),
    _S(
        name="numa_topology",
        text="Tell kubelet each GPU's NUMA node",
        hami="enableNumaTopology",
        node="enablenumatopology",
    ),
    _S(
        name="preferred_allocation",
        text="Steer kubelet to the GPU that the planner would take",
        node="enablegetpreferredallocation",
    ),
    _S(name="policy", text="How instances are placed"),
    _S(name="gpu_policy", text="Which GPU comes first"),
    _S(name="memory_match", text="How much memory an instance must have for a request"),
    _S(name="foreign_instances", text="What may happen to idle instances that somebody else made"),
    _S(name="on_ambiguity", text="What happens when several containers may be asking"),
    _S(name="allocate_deadline_seconds", text="Within this time Allocate answers", low=1, high=600),
    _S(
        name="driver_timeout_seconds",
        text="A driver call that takes longer marks its GPU as hung",
        low=1,
        high=600,
        change=TakesEffect.RESTART,
    ),
    _S(name="reconcile_seconds", text="Time between two reconciliations", low=0.1, high=5),
    _S(name="absent_seconds", text="A pod is over when two complete lists so far apart lack it", low=30, high=_DAY),
    _S(
        name="kubelet_settle_seconds",
        text="Lists of a kubelet that is up for less are not complete",
        high=_DAY,
        change=TakesEffect.RESTART,
    ),
    _S(name="hook_path", text="Where libvgpu lies, on the node and in containers", change=TakesEffect.RESTART),
    _S(name="device_list_strategy", text="How a container is told its devices"),
    _S(name="pass_device_specs", text="Give containers the device nodes themselves"),
    _S(name="pods_source", text="Who tells which pods are on the node", change=TakesEffect.RESTART),
    _S(name="pods_file", text="The PodList in JSON for pods_source: file", change=TakesEffect.RESTART),
    _S(name="kubelet_url", text="Kubelet's list of pods for pods_source: kubelet", change=TakesEffect.RESTART),
    _S(name="kubelet_token_file", text="The token for kubelet", change=TakesEffect.RESTART),
    _S(name="kubelet_ca_file", text="Who signs kubelet's certificate", change=TakesEffect.RESTART),
    _S(name="kubelet_client_cert_file", text="Our client certificate for kubelet", change=TakesEffect.RESTART),
    _S(name="kubelet_client_key_file", text="The key of that certificate", change=TakesEffect.RESTART),
    _S(name="kubelet_insecure", text="Talk to kubelet whatever its certificate says", change=TakesEffect.RESTART),
    _S(name="health_checks", text="Watch the driver's events for sick GPUs", change=TakesEffect.RESTART),
    _S(
        name="health_recovery_seconds",
        text="A sick GPU that was quiet for so long serves again; 0: not before a new start",
        high=_DAY,
    ),
    _S(name="ignored_xids", text="Xids that do not make a GPU sick, beside HAMi's own list", high=1_000_000),
    _S(
        name="metrics_address", text="HOST:PORT of /metrics, /livez, /readyz; empty is none", change=TakesEffect.RESTART
    ),
    _S(name="legacy_metrics", text="Serve HAMi's older metric names too"),
    _S(name="log_format", text="How the log looks", change=TakesEffect.RESTART),
    _S(name="log_level", text="The least that is logged"),
)
BY_NAME: Final = {each.name: each for each in SETTINGS}
RESOURCE_KEYS: Final = {
    "resourceCountName": "count",
    "resourceMemoryName": "memory",
    "resourceMemoryPercentageName": "memory_percentage",
    "resourceCoreName": "cores",
    "resourcePriorityName": "priority",
}
# Keys of HAMi's nvidia section that say nothing to a node: its webhook and scheduler read them.
CLUSTER_KEYS: Final = frozenset({"overwriteEnv", "defaultGPUNum", "runtimeClassName"})
# Read elsewhere (templates), or known and without use here.
OTHER_KEYS: Final = frozenset({"knownMigGeometries", "migProfileAllowlist"})


def nearest(name: str) -> str:
    """A question that may help who mistyped a setting, or nothing."""
    near = difflib.get_close_matches(name[:80], BY_NAME, n=1)
    return f"did you mean {near[0]}?" if near else ""
