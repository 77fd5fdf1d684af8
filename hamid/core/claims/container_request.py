# SPDX-License-Identifier: Apache-2.0
"""A container's request: from its limits, from annotations of the same names on its pod, or the defaults.

The default scheduler does not know `nvidia.com/gpumem`: a limit on a resource that the node does not offer keeps the
pod pending, so hamid also reads annotations. In a cluster with HAMi's scheduler, limits work.
"""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from hamid.core.config.config import Config, Mode
from hamid.core.planner.request import MAX_DEVICES
from hamid.core.pods.pods import Container, Pod
from hamid.core.pods.quantity import whole
from hamid.core.units import MAX_MEMORY_MIB, PERCENT

_PRIORITIES: Final = 1  # HAMi: 0 is high, 1 is low
_MODE: Final = "nvidia.com/vgpu-mode"
_USE_TYPES: Final = "nvidia.com/use-gputype"
_AVOID_TYPES: Final = "nvidia.com/nouse-gputype"
_USE_UUIDS: Final = "nvidia.com/use-gpuuuid"
_AVOID_UUIDS: Final = "nvidia.com/nouse-gpuuuid"


class ContainerRequest(Struct, frozen=True, kw_only=True):
    """`count` GPUs or instances, each with memory in MiB or percent (both None: all of it) and a share of the cores.

    `mode` None takes either kind. Types are parts of GPU names, uuids whole ones; an empty `use_` list means any.
    """

    count: int
    memory_mib: int | None = None
    memory_percent: int | None = None
    cores_percent: int = 0
    priority: int | None = None
    mode: Mode | None = None
    use_types: tuple[str, ...] = ()
    avoid_types: tuple[str, ...] = ()
    use_uuids: tuple[str, ...] = ()
    avoid_uuids: tuple[str, ...] = ()


class InvalidRequest(Struct, frozen=True):
    """A request that cannot be read, and why."""

    text: str


def device_count(container: Container, config: Config) -> int | None:
    """How many devices kubelet counts for this container; None when the limit is missing or invalid."""
    text = container.limits.get(config.resources.count, "")
    try:
        count = whole(text)
    except ValueError:
        return None
    return count if 0 < count <= MAX_DEVICES else None


def read_request(pod: Pod, container: Container, config: Config) -> ContainerRequest | InvalidRequest | None:
    """What the container asks for; None when it asks for no device of ours."""
    count = device_count(container, config)
    if count is None:
        return None
    try:
        return _parsed(count, _Words(pod, container), config)
    except ValueError as error:
        return InvalidRequest(f"pod {pod.namespace}/{pod.name}, container {container.name}: {error}")


class _Words:
    """Values by name: the container's limits first, then its pod's annotations."""

    def __init__(self, pod: Pod, container: Container) -> None:
        self._pod = pod
        self._container = container

    def number(self, name: str, most: int) -> int | None:
        """A whole number from 0 to `most`; None when it is not set. Raises ValueError."""
        text = self._container.limits.get(name) or self._pod.annotations.get(name)
        if text is None or not text.strip():
            return None
        try:
            value = whole(text.strip())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if not 0 <= value <= most:
            raise ValueError(f"{name} is {text.strip()[:40]}, not a number from 0 to {most}")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """The entries of a comma list in the annotations."""
        parts: Iterable[str] = self._pod.annotations.get(key, "").split(",")
        return tuple(part.strip() for part in parts if part.strip())

    def mode(self) -> Mode | None:
        """The mode that the pod requires, or None. Raises ValueError."""
        text = self._pod.annotations.get(_MODE, "").strip()
        if not text:
            return None
        if text not in set(Mode):
            raise ValueError(f"{_MODE} is '{text[:40]}', not one of {', '.join(Mode)}")
        return Mode(text)


def _parsed(count: int, words: _Words, config: Config) -> ContainerRequest:
    memory, percent = _memory(words, config)
    cores = words.number(config.resources.cores, PERCENT)
    return ContainerRequest(
        count=count,
        memory_mib=memory,
        memory_percent=percent,
        cores_percent=config.default_cores_percent if cores is None else cores,
        priority=words.number(config.resources.priority, _PRIORITIES),
        mode=words.mode(),
        use_types=words.names(_USE_TYPES),
        avoid_types=words.names(_AVOID_TYPES),
        use_uuids=words.names(_USE_UUIDS),
        avoid_uuids=words.names(_AVOID_UUIDS),
    )


def _memory(words: _Words, config: Config) -> tuple[int | None, int | None]:
    """MiB or percent, in HAMi's order: MiB first, then percent, then the default; 0 means not set."""
    said: Callable[[str, int], int | None] = words.number
    memory = said(config.resources.memory, MAX_MEMORY_MIB)
    if memory:
        mib = memory * config.memory_factor
        if mib > MAX_MEMORY_MIB:
            raise ValueError(f"{config.resources.memory} times memoryFactor is {mib} MiB, more than any GPU has")
        return mib, None
    percent = said(config.resources.memory_percentage, PERCENT)
    if percent:
        return None, percent
    return config.default_memory_mib or None, None
