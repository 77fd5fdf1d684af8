# SPDX-License-Identifier: Apache-2.0
"""Configuration as documents."""

from collections.abc import Mapping, Sequence

from hamid.core.config.config import SETTINGS, Config
from hamid.core.config.difference import compare_plain, plain
from hamid.core.config.parse import Parsed
from hamid.core.config.setting import Setting, TakesEffect
from hamid.core.documents.envelope import Document, envelope
from hamid.core.located import Problem, printable

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
        "default": plain(setting.default),
        "origin": str(parsed.origins.get(setting.name, _DEFAULT)),
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
    """A `ConfigDifference`: settings that differ between the files and the running hamid, and what each change needs.

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
