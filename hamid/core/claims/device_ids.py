# SPDX-License-Identifier: Apache-2.0
"""The device ids that hamid advertises to kubelet: one id for each container that may share a GPU.

Invariant: an id that a container holds stays on the list until it is free; only free ids are withdrawn.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

# Our numbers are small; an id with a longer number is not one of ours.
_MAX_DIGITS: Final = 6


class PluginDevice(Struct, frozen=True, kw_only=True):
    """One part of a GPU, `<GPU-UUID>-<i>`; `numa_node` is None where the node has none or topology is off."""

    device_id: str
    gpu_uuid: str
    healthy: bool
    numa_node: int | None = None


def device_id(gpu_uuid: str, number: int) -> str:
    """The id of a GPU's part."""
    return f"{gpu_uuid}-{number}"


def gpu_of(text: str) -> str:
    """The GPU uuid in an id, whether or not that GPU exists; empty for text that is not one of our ids."""
    uuid, dash, number = text.rpartition("-")
    plain = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS and number == str(int(number))
    return uuid if dash and plain else ""


def advertise(
    gpu_uuids: Iterable[str],
    *,
    split_count: int,
    unhealthy: Collection[str],
    closed: Collection[str] = (),
    held: Iterable[str] = (),
    known: Collection[str] = (),
    numa_nodes: Mapping[str, int] | None = None,
) -> tuple[PluginDevice, ...]:
    """The parts of the GPUs that are served, and the `held` ids of GPUs that are `known`, whether served or not.

    All ids on `unhealthy` GPUs are listed as unhealthy, so that kubelet starts nothing there. On a GPU that is `closed`
    to new containers only free ids are: after a restart, kubelet would refuse a running pod with an unhealthy id.
    """
    kept = set(held)
    nodes = numa_nodes or {}
    ids = {device_id(uuid, number): uuid for uuid in gpu_uuids for number in range(split_count)}
    ids |= dict(_of_known(kept - ids.keys(), known))
    return tuple(
        PluginDevice(
            device_id=each,
            gpu_uuid=uuid,
            healthy=uuid not in unhealthy and (uuid not in closed or each in kept),
            numa_node=nodes.get(uuid),
        )
        for each, uuid in ids.items()
    )


def _of_known(held: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    for each in sorted(held):
        uuid = gpu_of(each)
        if uuid in known:
            yield each, uuid
