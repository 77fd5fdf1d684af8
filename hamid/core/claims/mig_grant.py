# SPDX-License-Identifier: Apache-2.0
"""What a container with MIG instances receives: the UUIDs, as the device list strategy says, and its device nodes."""

from collections.abc import Iterable, Sequence
from typing import Final

from hamid.core.claims.grant import DeviceNode, Grant, Mount
from hamid.core.config.config import ListStrategy

VISIBLE_DEVICES: Final = "NVIDIA_VISIBLE_DEVICES"
# With this value, NVIDIA's container runtime reads the device names from this directory.
MOUNTED: Final = "/var/run/nvidia-container-devices"


def mig_grant(
    claim: int, mig_uuids: Sequence[str], nodes: Iterable[DeviceNode], *, strategy: ListStrategy = ListStrategy.ENVVAR
) -> Grant:
    """The grant of these instances, in the order in which the container numbers them."""
    devices = tuple(dict.fromkeys(nodes))
    if strategy is ListStrategy.VOLUME_MOUNTS:
        mounts = tuple(Mount(container_path=f"{MOUNTED}/{uuid}", host_path="/dev/null") for uuid in mig_uuids)
        return Grant(claim=claim, envs={VISIBLE_DEVICES: MOUNTED}, mounts=mounts, devices=devices)
    return Grant(claim=claim, envs={VISIBLE_DEVICES: ",".join(mig_uuids)}, devices=devices)


def visible_devices(grant: Grant) -> tuple[str, ...]:
    """The UUIDs that a grant names, for each device list strategy."""
    named = grant.envs.get(VISIBLE_DEVICES, "")
    if named != MOUNTED:
        return tuple(filter(None, named.split(",")))
    above = f"{MOUNTED}/"
    return tuple(
        each.container_path.removeprefix(above) for each in grant.mounts if each.container_path.startswith(above)
    )
