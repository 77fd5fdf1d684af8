# SPDX-License-Identifier: Apache-2.0
"""Metrics that are read from files, on a thread and only for a scrape."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from hamid.core.claims.claim import Claim
from hamid.core.config.config import Config
from hamid.core.errors import HamiError
from hamid.core.library.region import ContainerUse
from hamid.engine.library.state import container_library
from hamid.engine.pods import share_folders
from hamid.engine.pods.share_usage import in_use
from hamid.node.paths import Paths

# Longest wait of a scrape for a hung disk; it then gets the previous values.
_PATIENCE_SECONDS: Final = 2.0


class FileMetrics(Struct, frozen=True):
    """The version of libvgpu that containers get, if any, and the usage of each claim's container."""

    library: str = ""
    uses: Mapping[int, ContainerUse] = {}


class FileMetricsReader:
    """One reading at a time; concurrent callers share it."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._latest = FileMetrics()
        self._reading: asyncio.Task[FileMetrics] | None = None

    async def read(self, config: Config, claims: Sequence[Claim]) -> FileMetrics:
        """The current content of the files."""
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(_read, self._paths, config, tuple(claims)))
            self._reading.add_done_callback(self._ended)
        reading = self._reading
        await asyncio.wait({reading}, timeout=_PATIENCE_SECONDS)
        return reading.result() if reading.done() else self._latest

    def _ended(self, reading: asyncio.Task[FileMetrics]) -> None:
        self._reading = None
        if not reading.cancelled() and reading.exception() is None:
            self._latest = reading.result()


def _read(paths: Paths, config: Config, claims: Sequence[Claim]) -> FileMetrics:
    return FileMetrics(_installed(share_folders.library_dir(paths, config)), in_use(paths, config, claims))


def _installed(folder: str) -> str:
    try:
        path = container_library(folder)
    except HamiError:
        return ""
    return Path(path).name.removeprefix("libvgpu.so").lstrip(".") or "unversioned"
