# SPDX-License-Identifier: Apache-2.0
"""GPUs with the ledger's knowledge in them, made anew only where the GPU or what the ledger says of it is another."""

from collections.abc import Iterable

from hamid.core.claims.claim import LedgerFacts, merge_gpu
from hamid.core.hardware.gpu import Gpu


class Merger:
    """Gives what `merge_gpu` gives, from memory where nothing changed; thread-safe, since an entry is set at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Gpu, tuple[object, ...], Gpu]] = {}

    def merged(self, gpus: Iterable[Gpu], facts: LedgerFacts) -> tuple[Gpu, ...]:
        """The GPUs in their order."""
        return tuple(self._one(gpu, facts) for gpu in gpus)

    def _one(self, gpu: Gpu, facts: LedgerFacts) -> Gpu:
        said = facts.on_gpu(gpu.uuid)
        known = self._known.get(gpu.index)
        if known is not None and known[0] is gpu and known[1] == said:
            return known[2]
        merged = merge_gpu(gpu, facts)
        self._known[gpu.index] = (gpu, said, merged)
        return merged
