# SPDX-License-Identifier: Apache-2.0
"""Reads `knownMigGeometries`, the GPU templates, from HAMi's device-config.yaml.

The key is under `nvidia:` or at the top level; other vendors' sections are ignored. `allowedGeometries`
is a list of lists (each inner list one whole GPU). HAMi's articles also print it flat, which HAMi itself refuses to
decode; a flat list is kept as such here and grouped once the board is known (hamid.core.planner.template_check).
"""

from hamid.core.hardware.geometry import MAX_COUNT, PROFILE_NAME
from hamid.core.located import ConfigError, Located, Reader
from hamid.core.planner.templates import ModelTemplates, Template, TemplateSlot
from hamid.core.units import MAX_MEMORY_MIB, PERCENT

_KEY = "knownMigGeometries"
_SLOT_KEYS = frozenset({"name", "memory", "count", "core"})
_ENTRY_KEYS = frozenset({"models", "allowedGeometries"})
_SHAPE = "a list of {models: [...], allowedGeometries: [[{name, memory, count}]]}"


def has_geometries(root: Located) -> bool:
    """True when the document has the key at one of its two places."""
    return _find(root) is not None


def parse_geometries(root: Located, path: str) -> tuple[ModelTemplates, ...]:
    """The template entries of a document; raises ConfigError with every problem."""
    reader = Reader(path)
    node = _find(root)
    if node is None:
        reader.complain(root, _KEY, "is missing, at the top level and under nvidia:", _SHAPE)
        raise ConfigError(reader.problems)
    parsed = [_entry(reader, entry, key) for key, entry in reader.items(node, _KEY)]
    if reader.problems:
        raise ConfigError(reader.problems)
    return tuple(entry for entry in parsed if entry is not None)


def _find(root: Located) -> Located | None:
    if not isinstance(root.value, dict):
        return None
    section = root.value.get("nvidia")
    inner = section.value.get(_KEY) if section is not None and isinstance(section.value, dict) else None
    return inner if inner is not None else root.value.get(_KEY)


def _entry(reader: Reader, node: Located, key: str) -> ModelTemplates | None:
    fields = _fields(reader, node, key, _ENTRY_KEYS, _ENTRY_KEYS)
    if fields is None:
        return None
    models = [reader.text(each, name) for name, each in reader.items(fields["models"], f"{key}.models")]
    geometries = fields["allowedGeometries"]
    where = f"{key}.allowedGeometries"
    entries = list(reader.items(geometries, where))
    names = tuple(model for model in models if model is not None)
    if entries and all(isinstance(entry.value, dict) for _, entry in entries):
        flat = _slots(reader, entries)
        return ModelTemplates(models=names, templates=(), flat=flat, line=geometries.line)
    templates = [
        Template(index, _geometry(reader, name, entry), line=entry.line) for index, (name, entry) in enumerate(entries)
    ]
    return ModelTemplates(models=names, templates=tuple(templates), line=geometries.line)


def _geometry(reader: Reader, name: str, node: Located) -> tuple[TemplateSlot, ...]:
    """One whole-GPU geometry: a list of slots, each profile once."""
    slots = _slots(reader, list(reader.items(node, name)))
    twice = {slot.name for slot in slots if sum(other.name == slot.name for other in slots) > 1}
    for profile in sorted(twice):
        reader.complain(node, name, f"names {profile} twice", "list it once, with the total count")
    return slots


def _slots(reader: Reader, entries: list[tuple[str, Located]]) -> tuple[TemplateSlot, ...]:
    parsed = [_slot(reader, entry, key) for key, entry in entries]
    return tuple(slot for slot in parsed if slot is not None)


def _slot(reader: Reader, node: Located, key: str) -> TemplateSlot | None:
    fields = _fields(reader, node, key, _SLOT_KEYS, frozenset({"name", "memory", "count"}))
    if fields is None:
        return None
    name = reader.text(fields["name"], f"{key}.name")
    if name is not None and not PROFILE_NAME.fullmatch(name):
        reader.complain(
            fields["name"], f"{key}.name", f"'{name[:40]}' is not a profile name", "such as 2g.10gb or 1g.5gb+me"
        )
        name = None
    memory = reader.number(fields["memory"], f"{key}.memory", 1, MAX_MEMORY_MIB)
    count = reader.number(fields["count"], f"{key}.count", 1, MAX_COUNT)
    core = reader.number(fields["core"], f"{key}.core", 0, PERCENT) if "core" in fields else None
    if name is None or memory is None or count is None:
        return None
    return TemplateSlot(name=name, count=count, memory_mib=memory, core_percent=core, line=node.line)


def _fields(
    reader: Reader, node: Located, key: str, known: frozenset[str], needed: frozenset[str]
) -> dict[str, Located] | None:
    """The fields of a mapping, or None if it is not a mapping or lacks a field; unknown fields are problems too."""
    fields = reader.mapping(node, key)
    if fields is None:
        return None
    for name in sorted(fields.keys() - known):
        reader.complain(fields[name], f"{key}.{name[:40]}", "unknown key", f"known: {', '.join(sorted(known))}")
    missing = sorted(needed - fields.keys())
    for name in missing:
        reader.complain(node, f"{key}.{name}", "is missing", f"needed: {', '.join(sorted(needed))}")
    return None if missing else fields
