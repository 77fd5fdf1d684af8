# SPDX-License-Identifier: Apache-2.0
"""Reads a Kubernetes PodList from untrusted JSON: one bad pod makes the list incomplete, not useless."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from hamid.core.pods.pods import Container, Pod, PodList

_STATIC_HASH = "kubernetes.io/config.hash"
_MOST_PODS = 10_000
# msgspec detects invalid UTF-8 only where it decodes a string.
_BAD = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class _MetadataJson(Struct, rename="camel"):
    uid: str
    name: str
    namespace: str = "default"
    annotations: dict[str, str] | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None


class _ResourcesJson(Struct, rename="camel"):
    limits: dict[str, str | int | float] | None = None


class _EnvJson(Struct, rename="camel"):
    name: str
    value: str | None = None


class _ContainerJson(Struct, rename="camel"):
    name: str
    resources: _ResourcesJson | None = None
    env: list[_EnvJson] | None = None
    restart_policy: str | None = None


class _SpecJson(Struct, rename="camel"):
    containers: list[_ContainerJson]
    init_containers: list[_ContainerJson] | None = None


class _StateJson(Struct, rename="camel"):
    running: dict[str, Any] | None = None
    terminated: dict[str, Any] | None = None


class _ContainerStatusJson(Struct, rename="camel"):
    name: str
    state: _StateJson | None = None


class _StatusJson(Struct, rename="camel"):
    phase: str = "Pending"
    container_statuses: list[_ContainerStatusJson] | None = None
    init_container_statuses: list[_ContainerStatusJson] | None = None


class _PodJson(Struct, rename="camel"):
    metadata: _MetadataJson
    spec: _SpecJson
    status: _StatusJson | None = None


class _ListJson(Struct, rename="camel"):
    items: list[msgspec.Raw] | None = None


def decode_pods(data: bytes) -> PodList:
    """The pods of a PodList, or of a bare list of pods."""
    try:
        items = _items(data)
    except _BAD as error:
        return PodList(complete=False, problem=f"not a list of pods: {_short(error)}")
    if len(items) > _MOST_PODS:
        return PodList(complete=False, problem=f"it has {len(items)} pods, more than any node")
    pods: list[Pod] = []
    problems: list[str] = []
    for number, item in enumerate(items):
        try:
            pods.append(_pod(msgspec.json.decode(item, type=_PodJson)))
        except _BAD as error:
            problems.append(f"pod {number}: {_short(error)}")
    return PodList(pods=tuple(pods), complete=not problems, problem="; ".join(problems[:3]))


def _items(data: bytes) -> list[msgspec.Raw]:
    if data.lstrip()[:1] == b"[":
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    found = msgspec.json.decode(data, type=_ListJson)
    # A kubelet without pods returns null; a document without the key is not a pod list.
    if found.items is None and b'"items"' not in data:
        raise msgspec.ValidationError("there is no 'items'")
    return found.items or []


def _pod(found: _PodJson) -> Pod:
    status = found.status or _StatusJson()
    states = {
        each.name: each.state for each in (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
    }
    annotations = found.metadata.annotations or {}
    return Pod(
        uid=found.metadata.uid,
        namespace=found.metadata.namespace,
        name=found.metadata.name,
        phase=status.phase,
        deleted=found.metadata.deletion_timestamp is not None,
        annotations=annotations,
        containers=tuple(_containers(found.spec, states)),
        created=_unix(found.metadata.creation_timestamp),
        static_hash=annotations.get(_STATIC_HASH),
    )


def _containers(spec: _SpecJson, states: Mapping[str, _StateJson | None]) -> Iterator[Container]:
    for each in spec.init_containers or ():
        yield _container(each, states, init=True)
    for each in spec.containers:
        yield _container(each, states, init=False)


def _container(found: _ContainerJson, states: Mapping[str, _StateJson | None], *, init: bool) -> Container:
    state = states.get(found.name)
    limits = (found.resources.limits if found.resources else None) or {}
    return Container(
        name=found.name,
        init=init,
        restartable=init and found.restart_policy == "Always",
        limits={name: str(value) for name, value in limits.items()},
        env={each.name: each.value for each in found.env or () if each.value is not None},
        running=None if state is None else state.running is not None,
        terminated=None if state is None else state.terminated is not None,
    )


def _unix(time: datetime | None) -> float | None:
    if time is None:
        return None
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
