# SPDX-License-Identifier: Apache-2.0
"""Templates: whole-GPU geometries by GPU model, and the matching of model names.

A template says how a GPU may be split (HAMi's knownMigGeometries). Names are compared by whole tokens (split at
blank, `-` and `_`, case and "NVIDIA" ignored), so H20 never matches H200; the most specific match wins. Names that
HAMi uses but no driver prints are in an alias table.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from hamid.core.hardware.geometry import count_names

_SEPARATORS = re.compile(r"[ _-]+")


class TemplateSlot(Struct, frozen=True):
    """`count` instances of one profile in a template; `memory_mib` and `core_percent` as the template claims them.

    `line` is its line in the file, 0 for a shipped template; so in the types below.
    """

    name: str
    count: int
    memory_mib: int
    core_percent: int | None = None
    line: int = 0


class Template(Struct, frozen=True):
    """One whole-GPU geometry; `index` is its place in its model's list, which is the order of preference."""

    index: int
    slots: tuple[TemplateSlot, ...]
    line: int = 0

    @property
    def geometry(self) -> dict[str, int]:
        """Profile names with counts, in the template's order."""
        return {slot.name: slot.count for slot in self.slots}


class ModelTemplates(Struct, frozen=True):
    """The templates of some GPU models, as the configuration names them.

    `flat` holds the slots of a list without groups until a board is known (hamid.core.planner.template_check).
    """

    models: tuple[str, ...]
    templates: tuple[Template, ...]
    flat: tuple[TemplateSlot, ...] = ()
    line: int = 0


class TemplateTable(Struct, frozen=True):
    """All model entries in order, and for a configured model name the NVML names that it also stands for.

    `source` is the file's path, or words for the shipped table; `configured` tells them apart.
    """

    entries: tuple[ModelTemplates, ...]
    aliases: Mapping[str, tuple[str, ...]]
    source: str
    configured: bool = False

    def lookup(self, nvml_name: str | None) -> ModelTemplates | None:
        """The entry for a GPU by its NVML name: the most specific match, the first of equals; None without any."""
        best: tuple[int, ModelTemplates | None] = (0, None)
        for entry in self.entries:
            score = max((self._score(model, nvml_name or "") for model in entry.models), default=0)
            if score > best[0]:
                best = (score, entry)
        return best[1]

    def _score(self, model: str, nvml_name: str) -> int:
        """Tokens that match; an alias is a whole name and therefore as specific as that name."""
        wanted, tokens = name_tokens(model), name_tokens(nvml_name)
        if any(name_tokens(alias) == tokens for alias in self.aliases.get(model, ())):
            return len(tokens)
        return len(wanted) if contains_tokens(tokens, wanted) else 0


@lru_cache(maxsize=1024)
def name_tokens(name: str) -> tuple[str, ...]:
    """`NVIDIA A100-SXM4-40GB` as `("a100", "sxm4", "40gb")`."""
    return tuple(token for token in _SEPARATORS.split(name.lower()) if token and token != "nvidia")


def contains_tokens(tokens: Sequence[str], wanted: Sequence[str]) -> bool:
    """True when `tokens` contains `wanted` as one contiguous run."""
    if not wanted:
        return False
    width = len(wanted)
    return any(tuple(tokens[i : i + width]) == tuple(wanted) for i in range(len(tokens) - width + 1))


def instance_counts(template: Template | None, used: Iterable[str]) -> dict[str, int]:
    """What a template has beyond the `used` profile names."""
    taken = count_names(used)
    return {name: count - taken.get(name, 0) for name, count in (template.geometry if template else {}).items()}
