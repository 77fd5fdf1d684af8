# SPDX-License-Identifier: Apache-2.0
"""Reads configuration and shipped tables from files into core values."""

import os
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.located import ConfigError, Located, Problem
from hamid.core.planner.hami_templates import has_geometries, parse_geometries
from hamid.core.planner.templates import TemplateTable
from hamid.node.paths import Paths, data_file

if TYPE_CHECKING:
    from hamid.core.config.parse import Parsed, Source

DEVICE_CONFIG = "device-config.yaml"
NODE_CONFIG = "config.json"
OWN = "hamid.yaml"
DROP_INS = "hamid.yaml.d"
Signature = tuple[tuple[str, ...], ...]


class _AliasFile(Struct, forbid_unknown_fields=True):
    comment: str
    aliases: dict[str, tuple[str, ...]]


def templates(paths: Paths, file: str | None) -> TemplateTable:
    """The effective template table: from `file`, else the node's device-config.yaml, else the built-in one.

    Raises UsageError or ConfigError for a file that cannot be used.
    """
    if file is not None:
        return _configured(file)
    node_file = os.path.join(paths.config_dir, DEVICE_CONFIG)
    if not os.path.lexists(node_file):
        return builtin_templates()
    root = _read_yaml(node_file)
    # HAMi 2.10 has no geometries in this file any more; then the shipped ones hold.
    return _table(root, node_file) if has_geometries(root) else builtin_templates()


class Files(Struct, frozen=True):
    """The files of a configuration: hamid's in order of precedence, and HAMi's two; missing files are left out."""

    own: tuple[str, ...] = ()
    device: str = ""
    node: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the weakest first."""
        return tuple(each for each in (self.device, self.node, *self.own) if each)


def files_in(folder: str) -> Files:
    """The files of a directory like /etc/hami; raises UsageError when it cannot be read."""
    own = [each for each in _own_files(folder) if os.path.lexists(each)]
    device, node = (os.path.join(folder, name) for name in (DEVICE_CONFIG, NODE_CONFIG))
    return Files(tuple(own), device if os.path.lexists(device) else "", node if os.path.lexists(node) else "")


def files_of(path: str) -> Files:
    """A file or directory that the user names; the keys of a file tell which it is.

    Raises UsageError for what cannot be read.
    """
    if os.path.isdir(path):
        return files_in(path)
    try:
        root = _read_yaml(path)
    except ConfigError:
        # Its problems are reported when it is read as a configuration.
        return Files(own=(path,))
    keys = root.value.keys() if isinstance(root.value, dict) else set[str]()
    if "nodeconfig" in keys:
        return Files(node=path)
    return Files(device=path) if "nvidia" in keys or has_geometries(root) else Files(own=(path,))


def read_config(paths: Paths, environment: Mapping[str, str]) -> "Parsed":
    """The configuration as the files under `paths.config_dir` have it; raises as `read_files`, and UsageError."""
    return read_files(files_in(paths.config_dir), environment)


def read_files(files: Files, environment: Mapping[str, str]) -> "Parsed":
    """The configuration in these files; raises ConfigError with all problems.

    A file that is there and cannot be read is a problem, never a default.
    """
    # Imported here because most commands need no configuration, and parsing slows down start-up.
    from hamid.core.config.parse import parse

    problems: list[Problem] = []
    own = [_source(path, problems) for path in files.own]
    device = _source(files.device, problems) if files.device else None
    node = _source(files.node, problems) if files.node else None
    table = builtin_templates()
    try:
        table = _table(device.root, device.path) if device is not None and has_geometries(device.root) else table
    except ConfigError as error:
        problems.extend(error.problems)
    try:
        parsed = parse(
            own=[each for each in own if each is not None],
            device_config=device,
            node_config=node,
            templates=table,
            node_name=default_name(environment),
        )
    except ConfigError as error:
        problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return parsed


def default_name(environment: Mapping[str, str]) -> str:
    """The node's name if no file gives it."""
    return environment.get("NODE_NAME") or socket.gethostname()


def signature(paths: Paths) -> Signature:
    """A value that changes whenever a file of the configuration changes, also when a link on its path is retargeted."""
    folder = paths.config_dir
    files = [*_own_files(folder), *(os.path.join(folder, name) for name in (DEVICE_CONFIG, NODE_CONFIG))]
    return tuple((path, *_state(path)) for path in files)


def _state(path: str) -> tuple[str, ...]:
    try:
        status = os.stat(path)
    except OSError as error:
        return (str(error.errno),)
    return tuple(map(str, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)))


def _own_files(config_dir: str) -> Iterator[str]:
    """hamid.yaml and its drop-ins by name; names that begin with a dot are no drop-ins."""
    yield os.path.join(config_dir, OWN)
    folder = os.path.join(config_dir, DROP_INS)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read '{folder}': {error.strerror}", "make it a readable directory") from error
    yield from (os.path.join(folder, name) for name in names if name.endswith(".yaml") and name[0] != ".")


def _source(path: str, problems: list[Problem]) -> "Source | None":
    from hamid.core.config.parse import Source

    if not os.path.lexists(path):
        return None
    try:
        return Source(path, _read_yaml(path))
    except ConfigError as error:
        problems.extend(error.problems)
    except UsageError as error:
        problems.append(Problem(path, 1, "document", error.message, error.hint or ""))
    return None


def builtin_templates() -> TemplateTable:
    """HAMi's template tables as shipped with this package."""
    with open(data_file("mig-templates.json"), "rb") as file:
        document = msgspec.json.decode(file.read())
    entries = parse_geometries(_unmarked(document), "mig-templates.json")
    return TemplateTable(entries=entries, aliases=_aliases(), source=document["source"])


def _configured(path: str) -> TemplateTable:
    return _table(_read_yaml(path), path)


def _table(root: Located, path: str) -> TemplateTable:
    return TemplateTable(entries=parse_geometries(root, path), aliases=_aliases(), source=path, configured=True)


def _read_yaml(path: str) -> Located:
    # Imported here because yaml slows down start-up and most runs have no such file.
    from hamid.node.config.yaml import read_marked

    return read_marked(path)


def _aliases() -> dict[str, tuple[str, ...]]:
    with open(data_file("model-aliases.json"), "rb") as file:
        return msgspec.json.decode(file.read(), type=_AliasFile).aliases


def _unmarked(value: object) -> Located:
    """Trusted data in the form of the parser, without lines."""
    if isinstance(value, dict):
        return Located({str(key): _unmarked(each) for key, each in value.items()}, 0)
    if isinstance(value, list):
        return Located(tuple(_unmarked(each) for each in value), 0)
    return Located(value if isinstance(value, bool | int | float | str) else None, 0)
