# SPDX-License-Identifier: Apache-2.0
"""Parses configuration files into a Config, or into all of their problems.

Later sources win: built-in defaults, HAMi's device-config.yaml (its nvidia section), the node's entry in HAMi's
config.json, hamid.yaml, its drop-ins in the order of their names. The first three are HAMi's own order.
"""

import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from hamid.core.config.config import BY_NAME, RESOURCE_KEYS, SETTINGS, Config, Mode, PodsSource, ResourceNames, nearest
from hamid.core.config.setting import Setting, TextForm
from hamid.core.located import ConfigError, Located, Problem, Reader, shown
from hamid.core.planner.templates import TemplateTable

_EnumType = TypeVar("_EnumType", bound=StrEnum)

_RESOURCE: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9][A-Za-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})", re.ASCII)
_MOST_PORT: Final = 65_535
# As `Config.mode_of` reads it: an index, or a whole UUID.
_GPU: Final = re.compile(r"0|[1-9][0-9]{0,3}|GPU-[0-9A-Za-z-]{1,80}", re.ASCII)
# Keys of HAMi's nvidia section that do not concern a node: HAMi's webhook and scheduler read them.
_CLUSTER_KEYS: Final = frozenset({"overwriteEnv", "defaultGPUNum", "runtimeClassName"})
# Read elsewhere (templates), or known but not used here.
_OTHER_KEYS: Final = frozenset({"knownMigGeometries", "migProfileAllowlist"})
_BY_HAMI_KEY: Final = {each.hami: each for each in SETTINGS if each.hami}
_BY_NODE_KEY: Final = {each.node: each for each in SETTINGS if each.node}
# Keys of a node's entry that hold a mapping, and keys that are not used here.
_NODE_MAPPINGS: Final = frozenset(key.partition(".")[0] for key in _BY_NODE_KEY if "." in key)
_OTHER_NODE_KEYS: Final = frozenset({"name", "migstrategy"})


class Source(Struct, frozen=True):
    """The parsed content of a file."""

    path: str
    root: Located


class Origin(Struct, frozen=True):
    """The file and line of a value."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Parsed(Struct, frozen=True, kw_only=True):
    """The configuration, where each setting that is not a default comes from, and notes on what was ignored."""

    config: Config
    origins: Mapping[str, Origin] = {}
    notes: tuple[str, ...] = ()


def parse(
    *,
    own: Sequence[Source] = (),
    device_config: Source | None = None,
    node_config: Source | None = None,
    templates: TemplateTable,
    node_name: str,
) -> Parsed:
    """The configuration; raises ConfigError with every problem. `node_name` applies where no file names the node."""
    work = _ParseState()
    # The node's name selects its entry in config.json, so the files that may set the name are read first.
    for source in own:
        work.own(source)
    name = work.values.get("node_name") or node_name
    ours, work.values, work.origins = (work.values, work.origins), {}, {}
    if device_config is not None:
        work.device_config(device_config)
    if node_config is not None:
        work.node_config(node_config, str(name))
    values, origins = _merged(work.values, ours[0]), {**work.origins, **ours[1]}
    values["resources"] = ResourceNames(**_mapping_in(values, "resources"))
    values["gpu_modes"] = types.MappingProxyType(_mapping_in(values, "gpu_modes"))
    config = msgspec.structs.replace(Config(templates=templates), **{**values, "node_name": name})
    problems = [*work.problems, *_together(config, origins)]
    if problems:
        raise ConfigError(problems)
    return Parsed(config=config, origins=origins, notes=tuple(work.notes))


def _merged(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Later values win; mappings are merged key by key."""
    both: dict[str, object] = {}
    for name, value in after.items():
        earlier = before.get(name)
        both[name] = {**earlier, **value} if isinstance(earlier, dict) and isinstance(value, dict) else value
    return {**before, **both}


def _mapping_in(values: Mapping[str, object], name: str) -> dict[str, str]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


class _ParseState:
    """Values, origins, problems and notes of the sources read so far."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origins: dict[str, Origin] = {}
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def own(self, source: Source) -> None:
        """hamid.yaml or a drop-in; an empty file sets nothing."""
        reader = Reader(source.path)
        for key, node in self._mapping(reader, source.root, "document").items():
            setting = BY_NAME.get(key)
            if setting is None:
                hint = nearest(key) or "hamictl config show lists every setting"
                reader.complain(node, key[:80], "unknown setting", hint)
            else:
                self.take(reader, setting, node, key)
        self.problems.extend(reader.problems)

    def device_config(self, source: Source) -> None:
        """The nvidia section of HAMi's device-config.yaml; other vendors' sections are ignored."""
        reader = Reader(source.path)
        section = self._mapping(reader, source.root, "document").get("nvidia")
        fields = {} if section is None else self._mapping(reader, section, "nvidia")
        names: dict[str, str] = {}
        for key, node in fields.items():
            where = f"nvidia.{key[:80]}"
            if key in RESOURCE_KEYS:
                text = _resource(reader, node, where)
                names |= {} if text is None else {RESOURCE_KEYS[key]: text}
                self.origins["resources"] = Origin(source.path, node.line)
            elif key in _BY_HAMI_KEY:
                self.take(reader, _BY_HAMI_KEY[key], node, where)
            elif key not in _OTHER_KEYS:
                what = "is only for HAMi's scheduler" if key in _CLUSTER_KEYS else "is an unknown key"
                self.notes.append(f"{source.path}:{node.line}: {where} {what}")
        if names:
            self.values["resources"] = names
        self.problems.extend(reader.problems)

    def node_config(self, source: Source, node_name: str) -> None:
        """This node's entry in HAMi's config.json."""
        reader = Reader(source.path)
        entries = self._mapping(reader, source.root, "document").get("nodeconfig")
        found = False
        for key, entry in () if entries is None or entries.value == () else reader.items(entries, "nodeconfig"):
            fields = reader.mapping(entry, key)
            if fields is not None and "name" in fields and fields["name"].value == node_name:
                found = True
                self._entry(reader, fields, key)
        if not found:
            self.notes.append(f"{source.path}: no entry is named '{node_name}'")
        self.problems.extend(reader.problems)

    def _entry(self, reader: Reader, fields: Mapping[str, Located], where: str) -> None:
        for key, node in fields.items():
            if key in _NODE_MAPPINGS:
                self._inner(reader, node, where, key)
            elif key in _BY_NODE_KEY:
                self.take(reader, _BY_NODE_KEY[key], node, f"{where}.{key}")
            elif key not in _OTHER_NODE_KEYS:
                self.notes.append(f"{reader.path}:{node.line}: {where}.{key[:80]} is an unknown key")

    def _inner(self, reader: Reader, node: Located, where: str, above: str) -> None:
        for name, inner in self._mapping(reader, node, f"{where}.{above}").items():
            setting = _BY_NODE_KEY.get(f"{above}.{name}")
            if setting is not None:
                self.take(reader, setting, inner, f"{where}.{above}.{name}")

    def take(self, reader: Reader, setting: Setting, node: Located, key: str) -> None:
        """Store a setting's value, or note the problem."""
        value = _read(reader, setting, node, key)
        if value is not None:
            self.values = _merged(self.values, {setting.name: value})
            self.origins[setting.name] = Origin(reader.path, node.line)

    @staticmethod
    def _mapping(reader: Reader, node: Located, key: str) -> dict[str, Located]:
        """A mapping; an empty one where the value is missing."""
        return {} if node.value is None else reader.mapping(node, key) or {}


def _read(reader: Reader, setting: Setting, node: Located, key: str) -> object:
    """The node as the setting's type, or None with the problem noted."""
    kind = setting.kind
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _choice(reader, kind, node, key)
    if kind is ResourceNames:
        return _resources(reader, node, key)
    if typing.get_origin(kind) is tuple:
        return _list(reader, setting, node, key)
    if kind in _PLAIN:
        return _PLAIN[kind](reader, setting, node, key)
    return _gpu_modes(reader, node, key)


def _choice(reader: Reader, kind: type[_EnumType], node: Located, key: str) -> _EnumType | None:
    legal = [each.value for each in kind]
    # YAML reads the bare words on and off as true and false.
    value = {True: "on", False: "off"}[node.value] if isinstance(node.value, bool) else node.value
    if isinstance(value, str) and value in legal:
        return kind(value)
    reader.complain(node, key, f"is {shown(node)}", f"one of {', '.join(legal)}")
    return None


def _flag(reader: Reader, _: Setting, node: Located, key: str) -> bool | None:
    if isinstance(node.value, bool):
        return node.value
    reader.complain(node, key, f"is {node.kind} ({shown(node)})", "true or false")
    return None


def _whole(reader: Reader, setting: Setting, node: Located, key: str) -> int | None:
    # HAMi writes some of its numbers in quotes.
    if setting.hami and isinstance(node.value, str) and node.value.isascii() and node.value.isdigit():
        node = Located(int(node.value[:20]), node.line)
    return reader.number(node, key, int(setting.low), int(setting.high))


def _number(reader: Reader, setting: Setting, node: Located, key: str) -> float | None:
    value = node.value
    if isinstance(value, int | float) and not isinstance(value, bool) and setting.low <= value <= setting.high:
        return float(value)
    reader.complain(node, key, f"is {shown(node)}", f"a number from {setting.low:g} to {setting.high:g}")
    return None


def _text(reader: Reader, setting: Setting, node: Located, key: str) -> str | None:
    value = "" if node.value is None else node.value
    if not isinstance(value, str) or not value.isprintable():
        reader.complain(node, key, f"is {node.kind} ({shown(node)!r}), not printable text")
        return None
    if setting.form is TextForm.PATH and value and not value.startswith("/"):
        reader.complain(node, key, f"is '{shown(node)}'", "an absolute path")
        return None
    if setting.form is TextForm.ADDRESS and value and not _is_address(value):
        reader.complain(node, key, f"is '{shown(node)}'", "HOST:PORT such as 0.0.0.0:9394 or [::]:9394, or empty")
        return None
    return value


_PLAIN: Final[Mapping[type, Callable[[Reader, Setting, Located, str], object]]] = {
    bool: _flag,
    int: _whole,
    float: _number,
    str: _text,
}


def _is_address(text: str) -> bool:
    found = _ADDRESS.fullmatch(text)
    return found is not None and int(found["port"]) <= _MOST_PORT


def _list(reader: Reader, setting: Setting, node: Located, key: str) -> tuple[int | str | None, ...] | None:
    if not isinstance(node.value, tuple):
        reader.complain(node, key, f"is {node.kind}, not a list")
        return None
    of_numbers = typing.get_args(setting.kind)[0] is int
    before = len(reader.problems)
    entries = [(f"{key}[{number}]", entry) for number, entry in enumerate(node.value)]
    if of_numbers:
        values = [reader.number(entry, name, int(setting.low), int(setting.high)) for name, entry in entries]
        return tuple(values) if len(reader.problems) == before else None
    texts = [reader.text(entry, name) for name, entry in entries]
    return tuple(texts) if len(reader.problems) == before else None


def _resources(reader: Reader, node: Located, key: str) -> dict[str, str] | None:
    fields = reader.mapping(node, key)
    if fields is None:
        return None
    known = msgspec.structs.fields(ResourceNames)
    names = {each.name for each in known}
    for name in sorted(fields.keys() - names):
        reader.complain(fields[name], f"{key}.{name[:40]}", "unknown resource", f"known: {', '.join(sorted(names))}")
    read = {name: _resource(reader, each, f"{key}.{name}") for name, each in fields.items() if name in names}
    return {name: text for name, text in read.items() if text is not None}


def _resource(reader: Reader, node: Located, key: str) -> str | None:
    if isinstance(node.value, str) and _RESOURCE.fullmatch(node.value):
        return node.value
    reader.complain(node, key, f"is {shown(node)}", "an extended resource such as nvidia.com/gpu")
    return None


def _gpu_modes(reader: Reader, node: Located, key: str) -> dict[str, Mode] | None:
    fields = reader.mapping(node, key)
    if fields is None:
        return None
    before = len(reader.problems)
    for name, each in fields.items():
        if not _GPU.fullmatch(name):
            reader.complain(each, f"{key}.{name[:60]}", "not a GPU", "an index such as 0 or a UUID such as GPU-5d9b")
    read = {name: _choice(reader, Mode, each, f"{key}.{name[:60]}") for name, each in fields.items()}
    modes = {name: mode for name, mode in read.items() if mode is not None}
    return modes if len(reader.problems) == before else None


_DEFAULT: Final = Origin("defaults", 0)


def _together(config: Config, origins: Mapping[str, Origin]) -> list[Problem]:
    """Problems between settings that are valid on their own."""
    problems: list[Problem] = []

    def complain(name: str, message: str, hint: str) -> None:
        origin = origins.get(name, _DEFAULT)
        problems.append(Problem(origin.path, origin.line, name, message, hint))

    if config.pods_source is PodsSource.FILE and not config.pods_file:
        complain("pods_source", "is file, but pods_file is not set", "set pods_file: /path/to/pods.json")
    if config.pods_source is PodsSource.KUBELET and not config.kubelet_url.startswith(("https://", "http://")):
        complain("kubelet_url", "is not an http or https URL", "such as https://127.0.0.1:10250/pods")
    if bool(config.kubelet_client_cert_file) < bool(config.kubelet_client_key_file):
        complain("kubelet_client_key_file", "is set without a certificate", "set kubelet_client_cert_file too")
    names = msgspec.structs.astuple(config.resources)
    if len(set(names)) != len(names):
        complain("resources", "two resources have the same name", "give each resource its own name")
    return problems
