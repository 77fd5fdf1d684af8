# SPDX-License-Identifier: Apache-2.0
"""Write the table of docs/config.md from the settings in hamid/core/config/config.py, or with --check compare them.

After a change of a setting: .venv/bin/python tools/config_docs.py
"""

from __future__ import annotations

import sys
import typing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from msgspec import Struct

from hamid.core.config.config import RESOURCE_KEYS, SETTINGS
from hamid.core.config.difference import plain

if TYPE_CHECKING:
    from hamid.core.config.setting import Setting

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
MARK = "<!-- made by tools/config_docs.py -->\n"
HEAD = "| setting | value | default | HAMi's name | a change needs | meaning |\n|---|---|---|---|---|---|\n"
KINDS = {str: "text", bool: "true or false", int: "whole number", float: "number"}


def main() -> int:
    """The page is written, or with --check 1 when it is not what the settings say."""
    before = PAGE.read_text(encoding="utf-8")
    after = before.partition(MARK)[0] + MARK + table()
    if "--check" in sys.argv[1:]:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


def table() -> str:
    """Every setting as a table in Markdown, and what the choices mean."""
    choices = "".join(f"- `{each.name}`: {each.kind.__doc__}\n" for each in SETTINGS if _is_choice(each.kind))
    return f"{HEAD}{''.join(map(_row, SETTINGS))}\nThe choices:\n\n{choices}"


def _row(setting: Setting) -> str:
    names = RESOURCE_KEYS if setting.name == "resources" else [each for each in (setting.hami, setting.node) if each]
    hami = ", ".join(f"`{name}`" for name in names)
    needs = {"now": "nothing"}.get(setting.change.value, setting.change.value)
    cells = f"{_values(setting)} | {_default(plain(setting.default))} | {hami} | {needs} | {setting.text}"
    return f"| `{setting.name}` | {cells} |\n"


def _default(default: object) -> str:
    if isinstance(default, dict):
        return ", ".join(f"`{name}: {value}`" for name, value in default.items())
    if default in ("", []):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _is_choice(kind: object) -> TypeGuard[type[StrEnum]]:
    return isinstance(kind, type) and issubclass(kind, StrEnum)


def _values(setting: Setting) -> str:
    kind = setting.kind
    if _is_choice(kind):
        return " \\| ".join(f"`{each.value}`" for each in kind)
    if typing.get_origin(kind) is tuple:
        entry = typing.get_args(kind)[0]
        return "list of text" if entry is str else f"list of {KINDS[entry]}s"
    if typing.get_origin(kind) is not None:
        return "mapping of GPU to mode"
    if issubclass(kind, Struct):
        return "mapping of resource to name"
    bounds = f" {setting.low:.10g} to {setting.high:.10g}" if setting.high else ""
    return f"{KINDS[kind]}{bounds}"


if __name__ == "__main__":
    sys.exit(main())
