# SPDX-License-Identifier: Apache-2.0
"""The text of configuration, rendered from the documents."""

import json

from hamictl.render.tables import table
from hamid.core.documents.envelope import Document
from hamid.core.located import Problem, printable


def settings_page(document: Document, *, origin: bool, wide: bool) -> str:
    """A table with one line per setting; `origin` adds where each value comes from, `wide` also its meaning."""
    columns = ["SETTING", "VALUE"] + (["ORIGIN"] if origin or wide else []) + (["MEANING"] if wide else [])
    keys = ["origin"] * (origin or wide) + ["text"] * wide
    rows = [[each["name"], written(each["value"]), *(each[key] for key in keys)] for each in document["settings"]]
    return table(columns, rows)


def check_page(document: Document) -> str:
    """One line per problem, in the format of compiler messages."""
    problems = [f"{Problem(**each)}\n" for each in document["problems"]]
    notes = [f"note: {each}\n" for each in document["notes"]]
    files = ", ".join(document["files"]) or "no files, all settings have their defaults"
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    end = f"{count}; hamid would refuse this" if problems else f"valid: {files}"
    return "".join([*notes, *problems, f"{end}\n"])


def difference_page(document: Document) -> str:
    """A table with one line per setting that differs, and what applies the change."""
    head = f"hamid (pid {document['pid']}) runs with configuration version {document['version']}\n"
    if document["problem"]:
        problems = "".join(f"  {line}\n" for line in map(printable, document["problem"].splitlines()))
        head += f"It refused newer files:\n{problems}"
    if not document["changes"]:
        return head + "The files contain the same settings.\n"
    rows = [
        [each["name"], written(each["running"]), written(each["files"]), each["needs"]] for each in document["changes"]
    ]
    return f"{head}\n{table(['SETTING', 'RUNNING', 'FILES', 'NEEDS'], rows)}"


def written(value: object) -> str:
    """A value in the syntax of hamid.yaml."""
    if isinstance(value, str):
        return printable(value) or '""'
    return "-" if value is None else json.dumps(value, ensure_ascii=False)
