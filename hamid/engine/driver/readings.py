# SPDX-License-Identifier: Apache-2.0
"""What was read of each GPU last; thread-safe, since workers of several GPUs write here at once."""

import threading
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from hamid.core.claims.claim import LedgerFacts, merge_gpu
from hamid.core.hardware.gpu import Gpu, Load
from hamid.core.planner.eligibility import is_served


class Readings:
    """The last reading of every GPU by NVML index, and which GPUs are being read now."""

    def __init__(self) -> None:
        self.held_ids: frozenset[str] = frozenset()
        self._guard = threading.Lock()
        self._gpus: dict[int, Gpu] = {}
        self._loads: dict[str, Load] = {}
        self._in_progress: set[int] = set()
        self._merged: dict[int, tuple[Gpu, tuple[object, ...], Gpu]] = {}

    def begin(self, count: int) -> list[int]:
        """Start a round over `count` GPUs: the indices to read, without those whose reading is still in progress."""
        with self._guard:
            wanted = [index for index in range(count) if index not in self._in_progress]
            self._in_progress.update(wanted)
            for index in [index for index in self._gpus if index >= count]:
                del self._gpus[index]
            return wanted

    def end(self, index: int) -> None:
        """The reading of a GPU is over, or will never end."""
        with self._guard:
            self._in_progress.discard(index)

    def take(self, gpu: Gpu) -> None:
        """Store what was read. A GPU that does not answer keeps its last reading, with its new health."""
        with self._guard:
            before = self._gpus.get(gpu.index)
            if before is not None and not is_served(gpu) and gpu.uuid in {"", before.uuid}:
                gpu = replace(before, health=gpu.health, note=gpu.note)
            self._gpus[gpu.index] = gpu

    def take_load(self, gpu_uuid: str, load: Load | None) -> None:
        """Store how busy a GPU is; None when that could not be read."""
        with self._guard:
            self._loads.pop(gpu_uuid, None)
            if load is not None:
                self._loads[gpu_uuid] = load

    def take_held(self, device_ids: Iterable[str], *, complete: bool) -> None:
        """Store the device ids that kubelet says containers hold; a list that may lack some only adds to them."""
        held = frozenset(device_ids)
        self.held_ids = held if complete else self.held_ids | held

    def gpus(self) -> tuple[Gpu, ...]:
        """Every GPU as NVML showed it last, by index."""
        with self._guard:
            return tuple(self._gpus[index] for index in sorted(self._gpus))

    def gpu(self, index: int) -> Gpu | None:
        """One GPU as NVML showed it last."""
        with self._guard:
            return self._gpus.get(index)

    def loads(self) -> Mapping[str, Load]:
        """How busy the GPUs are, by uuid, where that could be read."""
        with self._guard:
            return dict(self._loads)

    def merged(self, facts: LedgerFacts) -> tuple[Gpu, ...]:
        """The GPUs with what the ledger says of them, as `merge_gpu` gives it.

        A GPU is merged again only when its reading or its ledger entries changed.
        """
        return tuple(self._merge(gpu, facts) for gpu in self.gpus())

    def _merge(self, gpu: Gpu, facts: LedgerFacts) -> Gpu:
        entries = facts.on_gpu(gpu.uuid)
        known = self._merged.get(gpu.index)
        if known is not None and known[0] is gpu and known[1] == entries:
            return known[2]
        merged = merge_gpu(gpu, facts)
        # One assignment, so that a thread that reads at this moment sees the old entry or the new one.
        self._merged[gpu.index] = (gpu, entries, merged)
        return merged
