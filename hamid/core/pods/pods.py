# SPDX-License-Identifier: Apache-2.0
"""The pods of the node, and which of their containers holds which device ids, as kubelet tells it."""

from collections.abc import Mapping

from msgspec import Struct


class Container(Struct, frozen=True, kw_only=True):
    """A container of a pod. `limits` are quantities as written; `env` are literal values alone.

    `restartable` is an init container that goes on beside the others (a sidecar). `running` and `terminated` are None
    when the list says nothing of it.
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

    `deleted` pods are asked to end and may still run.
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
        """The place of a container among those that are no init containers."""
        names = [each.name for each in self.containers if not each.init]
        return names.index(container) if container in names else None


class PodList(Struct, frozen=True, kw_only=True):
    """The pods that were found. Not `complete`: some may be missing, why is the `problem`; nobody is gone by it.

    `silent`: there is no source of pods, so that other evidence has to do. `refused` are pods (by uid) whose containers
    were denied their devices a moment ago, whatever the list says of them.
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
