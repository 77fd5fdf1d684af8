# SPDX-License-Identifier: Apache-2.0
"""Reads configuration and shipped tables from files into core values."""

from typing import TypeVar

import msgspec
from msgspec import Struct

from hamid.core.templates import ModelTemplates, Template, TemplateSlot, TemplateTable
from hamid.node.paths import data_file

_T = TypeVar("_T")


class _SlotFile(Struct, forbid_unknown_fields=True):
    name: str
    memory: int
    count: int
    core: int | None = None


class _EntryFile(Struct, forbid_unknown_fields=True, rename="camel"):
    models: list[str]
    allowed_geometries: list[list[_SlotFile]]


class _TemplatesFile(Struct, forbid_unknown_fields=True, rename="camel"):
    source: str
    known_mig_geometries: list[_EntryFile]


class _AliasFile(Struct, forbid_unknown_fields=True):
    comment: str
    aliases: dict[str, tuple[str, ...]]


def builtin_templates() -> TemplateTable:
    """HAMi's template tables as shipped with this package."""
    table = _read("mig-templates.json", _TemplatesFile)
    return TemplateTable(
        entries=tuple(_entry(entry) for entry in table.known_mig_geometries),
        aliases=_read("model-aliases.json", _AliasFile).aliases,
        source=table.source,
    )


def _read(name: str, kind: type[_T]) -> _T:
    with open(data_file(name), "rb") as file:  # noqa: PTH123  # pathlib costs start-up
        return msgspec.json.decode(file.read(), type=kind)


def _entry(entry: _EntryFile) -> ModelTemplates:
    templates = [
        Template(index, tuple(TemplateSlot(s.name, s.count, s.memory, s.core) for s in geometry))
        for index, geometry in enumerate(entry.allowed_geometries)
    ]
    return ModelTemplates(models=tuple(entry.models), templates=tuple(templates))
