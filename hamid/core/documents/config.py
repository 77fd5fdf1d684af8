# SPDX-License-Identifier: Apache-2.0
"""Configuration as documents, and the table of settings as the page docs/config.md has it."""

import types
import typing
from collections.abc import Mapping, Sequence
from enum import EnumMeta

from msgspec import Struct

from hamid.core.config.config import Config
from hamid.core.config.difference import compare_plain, plain
from hamid.core.config.parse import Parsed
from hamid.core.config.settings import RESOURCE_KEYS, SETTINGS, Setting, TakesEffect
from hamid.core.documents.envelope import Document, envelope
from hamid.core.located import Problem, printable

_KINDS: dict[object, str] = {str: "text", bool: "true or false", int: "whole number", float: "number"}
_DEFAULT = "default"


def settings_document(parsed: Parsed, files: Sequence[str], names: Sequence[str] = ()) -> Document:
    """A `Configuration`: every setting (or those of `names`) with its value and where it comes from."""
    shown = [each for each in SETTINGS if not names or each.name in names]
    return {
        **envelope("Configuration"),
        "files": list(files),
        "settings": [_setting(each, parsed) for each in shown],
        "templates": parsed.config.templates.source,
        "notes": [printable(each) for each in parsed.notes],
    }


def _setting(setting: Setting, parsed: Parsed) -> Document:
    return {
        "name": setting.name,
        "value": plain(getattr(parsed.config, setting.name)),
        "default": plain(getattr(Config(), setting.name)),
        "origin": parsed.origins.get(setting.name, _DEFAULT),
        "change": setting.change.value,
        "text": setting.text,
    }


def check_document(problems: Sequence[Problem], files: Sequence[str], notes: Sequence[str]) -> Document:
    """A `ConfigCheck`: whether hamid could run with these files, and everything that is wrong with them."""
    return {
        **envelope("ConfigCheck"),
        "valid": not problems,
        "files": list(files),
        "problems": [
            {
                "path": each.path,
                "line": each.line,
                "key": printable(each.key),
                "message": printable(each.message),
                "hint": printable(each.hint),
            }
            for each in problems
        ],
        "notes": [printable(each) for each in notes],
    }


def difference_document(
    running: Mapping[str, object], wanted: Config, templates: tuple[str, str], *, pid: int, version: int, problem: str
) -> Document:
    """A `ConfigDifference`: what the files say otherwise than the hamid that runs, and what each change needs.

    `templates` are the marks of both tables.
    """
    changes = compare_plain(running, wanted)
    if templates[0] != templates[1]:
        changes.append(("templates", *templates, TakesEffect.NOW))
    return {
        **envelope("ConfigDifference"),
        "pid": pid,
        "version": version,
        "problem": problem,
        "changes": [
            {"name": name, "running": before, "files": after, "needs": change.value}
            for name, before, after, change in changes
        ],
    }


def settings_page() -> str:
    """Every setting as a table in Markdown, and what the choices mean."""
    head = "| setting | value | default | HAMi's name | a change needs | meaning |\n|---|---|---|---|---|---|\n"
    words = [(each.name, typing.get_type_hints(Config)[each.name]) for each in SETTINGS]
    choices = "".join(f"- `{name}`: {kind.__doc__}\n" for name, kind in words if isinstance(kind, EnumMeta))
    return f"{head}{''.join(_row(each) for each in SETTINGS)}\nThe choices:\n\n{choices}"


def _row(setting: Setting) -> str:
    default = plain(getattr(Config(), setting.name))
    shown = "" if isinstance(default, dict | list) and not default else _written(default)
    hami = [f"`{name}`" for name in (setting.hami, setting.node) if name]
    if setting.name == "resources":
        hami = [f"`{name}`" for name in RESOURCE_KEYS]
    filters = {"filter_uuids": "`filterdevices.uuid`", "filter_indexes": "`filterdevices.index`"}
    names = ", ".join(hami) or filters.get(setting.name, "")
    needs = {"now": "nothing"}.get(setting.change.value, setting.change.value)
    return f"| `{setting.name}` | {_values(setting)} | {shown} | {names} | {needs} | {setting.text} |\n"


def _written(default: object) -> str:
    if isinstance(default, dict):
        return ", ".join(f"`{name}: {value}`" for name, value in default.items())
    return f"`{str(default).lower() if isinstance(default, bool) else default}`" if default != "" else ""


def _values(setting: Setting) -> str:
    kind = typing.get_type_hints(Config)[setting.name]
    if isinstance(kind, EnumMeta):
        return " \\| ".join(f"`{each.value}`" for each in kind)  # type: ignore[var-annotated]
    if isinstance(kind, types.GenericAlias) or typing.get_origin(kind) is not None:
        arguments = typing.get_args(kind)
        if typing.get_origin(kind) is tuple:
            return f"list of {_KINDS[arguments[0]]}s" if arguments[0] is not str else "list of text"
        return "mapping of GPU to mode"
    if isinstance(kind, type) and issubclass(kind, Struct):
        return "mapping of resource to name"
    bounds = f" {setting.low:.10g} to {setting.high:.10g}" if setting.high else ""
    return f"{_KINDS[kind]}{bounds}"
