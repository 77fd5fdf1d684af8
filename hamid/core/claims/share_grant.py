# SPDX-License-Identifier: Apache-2.0
"""What a container with shares receives: libvgpu, its limits, its directory, in HAMi's environment and mounts."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from hamid.core.claims.claim import ClaimedShare
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import DeviceNode, Grant, Mount
from hamid.core.claims.mig_grant import MOUNTED, VISIBLE_DEVICES
from hamid.core.claims.which_container import is_folder_name
from hamid.core.config.config import Config, CorePolicy, ListStrategy
from hamid.core.hardware.gpu import Gpu
from hamid.core.library.plan import CONTAINERS

_PRELOAD: Final = "/etc/ld.so.preload"
_MAX_DIGITS: Final = 9
_LOCKS: Final = "/tmp/vgpulock"  # HAMi-core's place
# Values that Go's strconv.ParseBool, which HAMi uses for this variable, reads as true.
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})


class HostPaths(Struct, frozen=True, kw_only=True):
    """Where things lie on the node: the library's file, the preload file, the container's directory, the locks.

    `license` and `validator` are there only with HAMi's licensed library.
    """

    library: str
    preload: str
    folder: str
    locks: str
    license: str = ""
    validator: str = ""


def share_grant(
    claim: int,
    shares: Sequence[ClaimedShare],
    nodes: Iterable[DeviceNode],
    *,
    config: Config,
    request: ContainerRequest,
    host: HostPaths,
    token: str,
    controlled: bool = True,
) -> Grant:
    """The grant of these shares; `token` names the region's file, without `controlled` nothing is preloaded."""
    uuids = [each.gpu_uuid for each in shares]
    envs = _limits(shares, config, request)
    envs["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = f"{config.hook_path}/vgpu/{token}.cache"
    by_mounts = config.device_list_strategy is ListStrategy.VOLUME_MOUNTS
    envs[VISIBLE_DEVICES] = MOUNTED if by_mounts else ",".join(uuids)
    listed = [Mount(container_path=f"{MOUNTED}/{uuid}", host_path="/dev/null") for uuid in uuids] if by_mounts else []
    return Grant(
        claim=claim,
        envs=envs,
        mounts=(*_mounts(config, host, controlled=controlled), *listed),
        devices=tuple(dict.fromkeys(nodes)),
    )


def _limits(shares: Sequence[ClaimedShare], config: Config, request: ContainerRequest) -> dict[str, str]:
    # By default CUDA numbers devices by speed; the limits need the order of PCI bus ids.
    envs = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_DEVICE_SM_LIMIT": str(shares[0].sm_percent)}
    for place, each in enumerate(shares):
        envs[f"CUDA_DEVICE_MEMORY_LIMIT_{place}"] = f"{each.memory_mib}m"
        envs[f"CUDA_DEVICE_SM_LIMIT_{place}"] = str(each.sm_percent)
    envs["LIBCUDA_LOG_LEVEL"] = str(config.cuda_log_level)
    if config.memory_scaling > 1:
        envs["CUDA_OVERSUBSCRIBE"] = "true"
    if request.priority is not None:
        envs["CUDA_TASK_PRIORITY"] = str(request.priority)
    if config.disable_core_limit or config.core_policy is CorePolicy.DISABLE:
        envs["GPU_CORE_UTILIZATION_POLICY"] = "disable"
    elif config.core_policy is CorePolicy.FORCE:
        envs["GPU_CORE_UTILIZATION_POLICY"] = "force"
    return envs


def _mounts(config: Config, host: HostPaths, *, controlled: bool) -> list[Mount]:
    inside = f"{config.hook_path}/vgpu"
    mounts = [
        Mount(container_path=f"{inside}/libvgpu.so", host_path=host.library),
        Mount(container_path=inside, host_path=host.folder, read_only=False),
        Mount(container_path=_LOCKS, host_path=host.locks, read_only=False),
    ]
    if controlled:
        mounts.append(Mount(container_path=_PRELOAD, host_path=host.preload))
    if host.license:
        mounts.append(Mount(container_path="/tmp/license", host_path=host.license))  # HAMi's place
        mounts.append(Mount(container_path="/usr/bin/vgpuvalidator", host_path=host.validator))
    return mounts


def wants_control(env_value: str) -> bool:
    """False when the container's CUDA_DISABLE_CONTROL turns the limits off."""
    return env_value not in _TRUE


# -- the way back --


def shares_of(grant: Grant, uuids: Sequence[str], gpus: Iterable[Gpu]) -> tuple[ClaimedShare, ...]:
    """The shares of these GPUs in a grant; a share without a readable limit counts as the whole GPU."""
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    known = [(place, by_uuid[uuid]) for place, uuid in enumerate(uuids) if uuid in by_uuid]
    return tuple(
        ClaimedShare(
            gpu_uuid=gpu.uuid,
            memory_mib=_number(grant, f"CUDA_DEVICE_MEMORY_LIMIT_{place}", "m", gpu.memory_mib or 0),
            sm_percent=_number(
                grant, f"CUDA_DEVICE_SM_LIMIT_{place}", "", _number(grant, "CUDA_DEVICE_SM_LIMIT", "", 0)
            ),
        )
        for place, gpu in known
    )


def _number(grant: Grant, name: str, unit: str, default: int) -> int:
    text = grant.envs.get(name, "").removesuffix(unit)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else default


def folder_of(grant: Grant) -> str:
    """The name of the container's directory, or nothing for a grant without one."""
    above = f"/vgpu/{CONTAINERS}/"
    found = [each.host_path.rpartition(above)[2] for each in grant.mounts if above in each.host_path]
    return found[0] if found and is_folder_name(found[0]) else ""
