# SPDX-License-Identifier: Apache-2.0
"""Renders documents of every kind as JSON, YAML or bare names."""

import msgspec

from hamid.core.documents.envelope import Document

# Keys whose value names a list entry in other commands, the most specific first.
_NAMES = ("migUUID", "uuid", "name", "key", "pid")


def render(document: Document, form: str) -> str:
    """The document as text that ends with a newline; `form` is json, yaml or name."""
    if form == "yaml":
        import yaml  # imported here because it slows down start-up

        plain = msgspec.to_builtins(document)
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    if form == "name":
        return "".join(f"{name}\n" for name in names(document))
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def names(document: Document) -> list[str]:
    """One name per entry of the document's lists of objects; for a document without lists, its kind."""
    lists = [value for value in document.values() if isinstance(value, list)]
    found = [_name(entry) for each in lists for entry in each if isinstance(entry, dict)]
    return [name for name in found if name] or ([] if lists else [str(document["kind"])])


def _name(entry: Document) -> str:
    """The name of an entry: the first of its _NAMES, else its first value."""
    named = next((entry[key] for key in _NAMES if entry.get(key)), None)
    value = next(iter(entry.values()), "") if named is None else named
    return str(value[0] if isinstance(value, list) and value else value)
