# SPDX-License-Identifier: Apache-2.0
"""Reads configuration and shipped tables from files into core values."""

import os

import msgspec
from msgspec import Struct

from hamid.core.hami.device_config import has_geometries, parse_geometries
from hamid.core.marked import Marked
from hamid.core.templates import TemplateTable
from hamid.node.paths import Paths, data_file

DEVICE_CONFIG = "device-config.yaml"


class _AliasFile(Struct, forbid_unknown_fields=True):
    comment: str
    aliases: dict[str, tuple[str, ...]]


def templates(paths: Paths, file: str | None) -> TemplateTable:
    """The template table in force: from `file`, else from the node's device-config.yaml, else the shipped one.

    Raises UsageError or ConfigError for a file that cannot be used.
    """
    if file is not None:
        return _configured(file)
    node_file = os.path.join(paths.config_dir, DEVICE_CONFIG)  # noqa: PTH118  # pathlib costs start-up
    if not os.path.lexists(node_file):
        return builtin_templates()
    root = _read_yaml(node_file)
    # HAMi 2.10 has no geometries in this file any more; then the shipped ones hold.
    return _table(root, node_file) if has_geometries(root) else builtin_templates()


def builtin_templates() -> TemplateTable:
    """HAMi's template tables as shipped with this package."""
    with open(data_file("mig-templates.json"), "rb") as file:  # noqa: PTH123  # pathlib costs start-up
        document = msgspec.json.decode(file.read())
    entries = parse_geometries(_unmarked(document), "mig-templates.json")
    return TemplateTable(entries=entries, aliases=_aliases(), source=document["source"])


def _configured(path: str) -> TemplateTable:
    return _table(_read_yaml(path), path)


def _table(root: Marked, path: str) -> TemplateTable:
    return TemplateTable(entries=parse_geometries(root, path), aliases=_aliases(), source=path, configured=True)


def _read_yaml(path: str) -> Marked:
    # Late, because yaml costs start-up and most runs have no such file.
    from hamid.node.yamlfile import read_marked  # noqa: PLC0415

    return read_marked(path)


def _aliases() -> dict[str, tuple[str, ...]]:
    with open(data_file("model-aliases.json"), "rb") as file:  # noqa: PTH123  # pathlib costs start-up
        return msgspec.json.decode(file.read(), type=_AliasFile).aliases


def _unmarked(value: object) -> Marked:
    """Trusted data in the form of the parser, without lines."""
    if isinstance(value, dict):
        return Marked({str(key): _unmarked(each) for key, each in value.items()}, 0)
    if isinstance(value, list):
        return Marked(tuple(_unmarked(each) for each in value), 0)
    return Marked(value if isinstance(value, bool | int | float | str) else None, 0)
