# SPDX-License-Identifier: Apache-2.0
"""What a container asks of the node's GPUs."""

from msgspec import Struct

from hamid.core.config.config import Mode


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
