# SPDX-License-Identifier: Apache-2.0
"""Kubelet's device accounting: which ids a container gets, as kubelet's device manager decides it.

Init containers come first and lend their devices to the containers after them; a restartable one keeps its own. The
rest comes from the free healthy ids, those that the plugin prefers first, then in no particular order.
"""

import random
from collections.abc import Callable, Mapping

from msgspec import Struct, field

Prefer = Callable[[list[str], list[str], int], list[str]]


class ContainerSpec(Struct, kw_only=True):
    """A container that asks for `limits`; `env` are its literal variables."""

    name: str = "main"
    limits: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    init: bool = False
    restartable: bool = False


class PodSpec(Struct, kw_only=True):
    """A pod as the scheduler would bind it to this node."""

    name: str
    namespace: str = "default"
    uid: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    containers: list[ContainerSpec] = field(default_factory=list)

    def ordered(self) -> list[ContainerSpec]:
        """Init containers first, each kind in its order."""
        return sorted(self.containers, key=lambda each: not each.init)


class HeldDevices(Struct, kw_only=True):
    """What one container holds of one resource, and the plugin's answer in bytes, as the checkpoint keeps it."""

    pod_uid: str
    container: str
    resource: str
    ids: list[str]
    answer: bytes


class AdmissionError(Exception):
    """Kubelet would fail the pod with UnexpectedAdmissionError and this text."""


class Devices:
    """The devices of one resource; not thread-safe, kubelet admits one pod at a time."""

    def __init__(self, resource: str, seed: int = 0) -> None:
        self.resource = resource
        self.healthy: set[str] = set()
        self.unhealthy: set[str] = set()
        self.known = False
        # Kubelet walks a Go map: no order that a plugin could rely on.
        self._order = random.Random(seed)  # noqa: S311  # disorder, not secrecy

    def update(self, health: Mapping[str, bool]) -> None:
        """What the plugin's stream said."""
        self.known = True
        self.healthy = {device for device, good in health.items() if good}
        self.unhealthy = set(health) - self.healthy

    def lost(self) -> None:
        """The plugin's stream ended: nothing is healthy until it comes back."""
        self.unhealthy |= self.healthy
        self.healthy = set()

    def choose(self, wanted: int, reusable: set[str], used: set[str], prefer: Prefer) -> list[str]:
        """The ids for a container. Raises AdmissionError in kubelet's words."""
        if not self.known:
            raise AdmissionError(f"Allocate failed due to cannot allocate unregistered device {self.resource}")
        if not self.healthy:
            raise AdmissionError(
                f"Allocate failed due to no healthy devices present; cannot allocate unhealthy devices {self.resource}"
            )
        chosen = sorted(reusable)[:wanted]
        needed = wanted - len(chosen)
        if not needed:
            return chosen
        free = self.healthy - used
        if len(free) < needed:
            raise AdmissionError(
                f"Allocate failed due to requested number of devices unavailable for {self.resource}. "
                f"Requested: {needed}, Available: {len(free)}"
            )
        liked = [each for each in prefer(sorted(free | set(chosen)), chosen, wanted) if each in free]
        others = sorted(free - set(liked))
        self._order.shuffle(others)
        return chosen + (liked + others)[:needed]
