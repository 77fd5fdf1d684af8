# SPDX-License-Identifier: Apache-2.0
"""Devices as kubelet counts them: every GPU in as many parts as it may have users.

The law: an id that a container holds stays on the list until it is free; only free ones are withdrawn.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

# Kubelet's own numbers are small; a longer one is nobody's id of ours.
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
    """The GPU that an id names, without asking whether there is one; nothing for what is no id of ours."""
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

    Those on `unhealthy` GPUs are listed as such, so that kubelet starts nothing on them. On a GPU that is `closed` to
    newcomers this goes for free ids alone: kubelet refuses the pod of an unhealthy id when it admits it again.
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
