# SPDX-License-Identifier: Apache-2.0
"""Devices as kubelet counts them: every GPU in as many parts as it may have users."""

from msgspec import Struct


class PluginDevice(Struct, frozen=True, kw_only=True):
    """One part of a GPU, `<GPU-UUID>-<i>`; `numa_node` is None where the node has none or topology is off."""

    device_id: str
    gpu_uuid: str
    healthy: bool
    numa_node: int | None = None
