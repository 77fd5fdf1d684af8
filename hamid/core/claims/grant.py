# SPDX-License-Identifier: Apache-2.0
"""What a container receives, as data, or why it receives nothing."""

from collections.abc import Mapping
from enum import StrEnum

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
    """What the container of `claim` receives; `cdi` are fully qualified CDI names."""

    claim: str
    envs: Mapping[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = {}
    cdi: tuple[str, ...] = ()


class DenialCode(StrEnum):
    """Kinds of refusal, stable for metrics and the table of gRPC status."""

    NO_FIT = "no-fit"
    AMBIGUOUS = "ambiguous"
    NO_POD = "no-pod"
    BAD_REQUEST = "bad-request"
    UNKNOWN_DEVICE = "unknown-device"
    NOT_READY = "not-ready"
    LIBRARY = "library"
    DEADLINE = "deadline"
    DRIVER = "driver"
    LEDGER = "ledger"
    READ_ONLY = "read-only"
    LOST = "lost"


class Denial(Struct, frozen=True, kw_only=True):
    """Why nothing was granted (`message`), what to do (`hint`), and what each GPU had against it (`reasons`)."""

    code: DenialCode
    message: str
    hint: str = ""
    reasons: tuple[str, ...] = ()
