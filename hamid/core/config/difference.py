# SPDX-License-Identifier: Apache-2.0
"""Differences between two configurations, what each requires, and which of them a reload can apply."""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256

import msgspec
from msgspec import Struct

from hamid.core.config.config import SETTINGS, Config
from hamid.core.config.setting import TakesEffect


class ChangedSetting(Struct, frozen=True, kw_only=True):
    """One setting with two values."""

    name: str
    before: object
    after: object
    change: TakesEffect


def compare(before: Config, after: Config) -> tuple[ChangedSetting, ...]:
    """The settings that differ, in the order of the table."""
    found = [
        ChangedSetting(
            name=each.name, before=getattr(before, each.name), after=getattr(after, each.name), change=each.change
        )
        for each in SETTINGS
        if plain(getattr(before, each.name)) != plain(getattr(after, each.name))
    ]
    if before.templates != after.templates:
        sources = before.templates.source, after.templates.source
        found.append(ChangedSetting(name="templates", before=sources[0], after=sources[1], change=TakesEffect.NOW))
    return tuple(found)


def compare_plain(before: Mapping[str, object], after: Config) -> list[tuple[str, object, object, TakesEffect]]:
    """The same for a stored configuration (`document`); a setting that it lacks counts as changed."""
    wanted = document(after)
    return [
        (each.name, before.get(each.name), wanted[each.name], each.change)
        for each in SETTINGS
        if before.get(each.name) != wanted[each.name]
    ]


def templates_mark(config: Config) -> str:
    """A short fingerprint of the template table, with where it comes from."""
    table = config.templates
    return f"{table.source} ({sha256(msgspec.json.encode((table.entries, table.aliases))).hexdigest()[:12]})"


def within_reach(running: Config, wanted: Config) -> Config:
    """The configuration that a reload may apply: everything except settings that need a restart."""
    kept = {each.name: getattr(running, each.name) for each in SETTINGS if each.change is TakesEffect.RESTART}
    return msgspec.structs.replace(wanted, **kept)


def plain(value: object) -> object:
    """A value in the form that documents use."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value.value if isinstance(value, StrEnum) else value


def document(config: Config) -> dict[str, object]:
    """Every setting by name."""
    return {each.name: plain(getattr(config, each.name)) for each in SETTINGS}
