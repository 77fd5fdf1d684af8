# SPDX-License-Identifier: Apache-2.0
"""What a container receives, as data."""

from collections.abc import Mapping

from msgspec import Struct


class Mount(Struct, frozen=True, kw_only=True):
    """A path of the node that the container sees."""

    container_path: str
    host_path: str
    read_only: bool = True


class DeviceNode(Struct, frozen=True, kw_only=True):
    """A device node that the container may open; `permissions` are some of r, w and m."""

    container_path: str
    host_path: str
    permissions: str = "rw"


class Grant(Struct, frozen=True, kw_only=True):
    """What the container of `claim` (its id; 0 where it is not known) receives; `cdi` are qualified CDI names."""

    claim: int
    envs: Mapping[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = {}
    cdi: tuple[str, ...] = ()
