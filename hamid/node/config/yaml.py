# SPDX-License-Identifier: Apache-2.0
"""Reads untrusted YAML and JSON files: bounded in size, depth and expansion, no duplicate keys.

The result is a marked tree, so that every later problem names its line.
"""

import os
import stat
from typing import Final

import yaml

from hamid.core.errors import UsageError
from hamid.core.located import ConfigError, Located, Problem

# A Kubernetes ConfigMap holds at most 1 MiB; nothing that we read is larger.
MAX_BYTES: Final = 1024 * 1024
# Aliases share nodes; a walk that would visit more than this is an attack, not a configuration.
_MAX_VALUES: Final = 100_000
_MAX_DEPTH: Final = 40
_COLLECTIONS: Final = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_marked(path: str) -> Located:
    """The one document in a file. Raises ConfigError or UsageError that names path and line."""
    return _parse(read_bounded(path), path)


def read_bounded(path: str) -> bytes:
    """The bytes of a regular file of at most 1 MiB; raises UsageError."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise UsageError(f"cannot read '{path}': {reason}", "name a readable YAML or JSON file") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError(f"'{path}' is not a regular file", "name a readable YAML or JSON file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise UsageError(f"'{path}' is larger than {MAX_BYTES} bytes", "name a smaller file")
    return data


def _parse(data: bytes, path: str) -> Located:
    try:
        loader = _Loader(data)
        try:
            node = loader.get_single_node()
            if node is None:
                return Located(None, 1)
            return _Walk(loader, path).marked(node, "document", 0)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            [Problem(path, line, "document", f"is not valid YAML: {error.problem or error.context}")]
        ) from error
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise ConfigError(
            [Problem(path, 1, "document", f"is not valid YAML: {str(error).splitlines()[0][:200]}")]
        ) from error


class _Walk:
    """One pass over the node graph, counting what it visits."""

    def __init__(self, loader: yaml.SafeLoader, path: str) -> None:
        self.loader = loader
        self.path = path
        self.visited = 0

    def marked(self, node: yaml.Node, key: str, depth: int) -> Located:
        """A node and all below it."""
        line = node.start_mark.line + 1
        self.visited += 1
        if self.visited > _MAX_VALUES or depth > _MAX_DEPTH:
            self._fail(line, key, f"expands to more than {_MAX_VALUES} values or {_MAX_DEPTH} levels")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            self._fail(line, key, f"has the tag {node.tag[:60]}, which is not supported")
        if isinstance(node, yaml.MappingNode):
            return Located(self._mapping(node, key, depth), line)
        if isinstance(node, yaml.SequenceNode):
            entries = enumerate(node.value)
            return Located(tuple(self.marked(each, f"{key}[{number}]", depth + 1) for number, each in entries), line)
        return Located(self._scalar(node), line)

    def _mapping(self, node: yaml.Node, key: str, depth: int) -> dict[str, Located]:
        found: dict[str, Located] = {}
        for name_node, value_node in node.value:
            name = str(name_node.value) if isinstance(name_node, yaml.ScalarNode) else "?"
            line = name_node.start_mark.line + 1
            if name in found:
                self._fail(line, name, f"duplicate key in {key} (first on line {found[name].line})")
            found[name] = self.marked(value_node, name, depth + 1)
        return found

    def _scalar(self, node: yaml.Node) -> bool | int | float | str | None:
        value = self.loader.construct_object(node)
        return value if value is None or isinstance(value, bool | int | float | str) else str(node.value)

    def _fail(self, line: int, key: str, message: str) -> None:
        raise ConfigError([Problem(self.path, line, key[:80], message)])
