# SPDX-License-Identifier: Apache-2.0
"""The pods of the node, and the device ids that their containers hold according to kubelet."""

from collections.abc import Mapping

from msgspec import Struct


class Container(Struct, frozen=True, kw_only=True):
    """A container of a pod. `limits` are quantities as written; `env` has literal values only.

    `restartable` is an init container that keeps running beside the others (a sidecar). `running` and `terminated` are
    None when the list does not say.
    """

    name: str
    init: bool = False
    restartable: bool = False
    limits: Mapping[str, str] = {}
    env: Mapping[str, str] = {}
    running: bool | None = None
    terminated: bool | None = None


class Pod(Struct, frozen=True, kw_only=True):
    """A pod; `containers` has init containers first. `created` is Unix time, `static_hash` a static pod's config hash.

    `deleted` pods are being terminated and may still run.
    """

    uid: str
    namespace: str
    name: str
    phase: str
    deleted: bool = False
    annotations: Mapping[str, str] = {}
    containers: tuple[Container, ...] = ()
    created: float | None = None
    static_hash: str | None = None

    def index_of(self, container: str) -> int | None:
        """The index of a container among those that are not init containers."""
        names = [each.name for each in self.containers if not each.init]
        return names.index(container) if container in names else None


class PodList(Struct, frozen=True, kw_only=True):
    """The pods that were found.

    Not `complete`: pods may be missing, for the reason in `problem`, so the list does not prove that a pod is gone.
    `silent`: no source of pods is configured; other evidence must serve. `refused` are pods (by uid) whose containers
    hamid refused a moment ago, even if the list still shows them as waiting.
    """

    pods: tuple[Pod, ...] = ()
    complete: bool
    silent: bool = False
    problem: str = ""
    refused: frozenset[str] = frozenset()


class Holding(Struct, frozen=True, kw_only=True):
    """What one container holds of one resource."""

    namespace: str
    pod: str
    container: str
    resource: str
    device_ids: tuple[str, ...]


class HoldingList(Struct, frozen=True, kw_only=True):
    """The holdings that were found; `complete` as in PodList."""

    holdings: tuple[Holding, ...] = ()
    complete: bool
    problem: str = ""
