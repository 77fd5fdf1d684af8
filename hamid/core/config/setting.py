# SPDX-License-Identifier: Apache-2.0
"""How a setting is described: each field of `Config` carries a `Setting` in its annotation."""

import typing
from enum import StrEnum

import msgspec
from msgspec import Struct


class TakesEffect(StrEnum):
    """What a change of a setting requires: nothing, an idle GPU, or a restart of hamid."""

    NOW = "now"
    IDLE_GPU = "idle GPU"
    RESTART = "restart"


class TextForm(StrEnum):
    """What a text must be: anything printable, an absolute path or empty, HOST:PORT or empty."""

    PRINTABLE = "printable"
    PATH = "path"
    ADDRESS = "address"


class Setting(Struct, frozen=True):
    """One setting. `low` and `high` bound numbers; `form` holds for text.

    `hami` is its key in HAMi's device-config.yaml, `node` in HAMi's config.json, with a dot before a nested key.
    `name`, `kind` (the type) and `default` come from the field.
    """

    text: str
    change: TakesEffect = TakesEffect.NOW
    low: float = 0
    high: float = 0
    form: TextForm = TextForm.PRINTABLE
    hami: str = ""
    node: str = ""
    name: str = ""
    kind: type = str
    default: object = None


def settings_of(struct: type[Struct]) -> tuple[Setting, ...]:
    """The settings that a struct's fields describe, in their order; a field without a `Setting` is none."""
    types = typing.get_type_hints(struct, include_extras=True)
    fields = {
        each.name: (each, typing.get_args(types[each.name]) or (types[each.name],))
        for each in msgspec.structs.fields(struct)
    }
    return tuple(
        msgspec.structs.replace(extra, name=name, kind=kind, default=_default(field))
        for name, (field, (kind, *extras)) in fields.items()
        for extra in extras
        if isinstance(extra, Setting)
    )


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
