# SPDX-License-Identifier: Apache-2.0
"""NVIDIA mig-parted's file format: named configurations, each a list of entries with the targets of GPUs.

    version: v1
    mig-configs:
      all-balanced:
        - device-filter: ["0x20B010DE", "0x20B110DE"]    # PCI device ids; left out: every GPU
          devices: all                                   # or [0, 2]
          mig-enabled: true
          mig-devices: {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}

Our extension: `mig-devices` may be a list of layout items with placements, `["3g.20gb@4", "1g.5gb*2"]`.

As in mig-parted, the last entry that names a GPU applies, indices that the node lacks are ignored, and GPUs that no
entry names stay unchanged. Files hold configurations for many boards, so a profile is checked only when its entry
applies to a GPU.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.core.hardware.geometry import (
    MAX_COUNT,
    PROFILE_NAME,
    LayoutItem,
    count_names,
    dividing,
    legal_names,
    whole_profile,
)
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.located import ConfigError, Located, Problem, Reader, shown
from hamid.core.planner.eligibility import is_served
from hamid.core.relayout.target import GpuTarget

VERSION = "v1"
_SPEC_KEYS = ("device-filter", "devices", "mig-enabled", "mig-devices")
_NEEDED = ("devices", "mig-enabled")
# Larger than any node; an index beyond it is a mistake.
_MAX_INDEX = 4095
_LISTED = re.compile(r"(?P<profile>[^@*,\s]{1,40})(?:@(?P<start>[0-9]{1,3})|\*(?P<count>[0-9]{1,3}))?", re.ASCII)
_ID = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}", re.ASCII)
_PROFILE_SHAPE = "such as 2g.10gb or 1g.5gb+me"
_FILTER_SHAPE = 'a PCI device id as NVML packs it, such as "0x20B010DE", or a list of them'


class DeviceId(Struct, frozen=True):
    """A board by its PCI ids (device and vendor in one number); `subsystem` None means any."""

    primary: int
    subsystem: int | None = None

    def matches(self, gpu: Gpu) -> bool:
        """True when the GPU is of that board; False if its ids are unknown."""
        return self.primary == _number(gpu.pci_device_id) and self.subsystem in {None, _number(gpu.pci_subsystem_id)}


class Spec(Struct, frozen=True, kw_only=True):
    """One entry of a configuration and its location; `devices` None means all GPUs, no filter means every board.

    `shared` are its profiles that divide an instance between compute instances (`1c.3g.20gb`), which are refused.
    """

    filters: tuple[DeviceId, ...]
    devices: tuple[int, ...] | None
    mig_enabled: bool
    layout: tuple[LayoutItem, ...]
    shared: tuple[str, ...]
    path: str
    line: int
    key: str

    def matches(self, gpu: Gpu) -> bool:
        """True when the entry applies to this GPU."""
        right_board = not self.filters or any(each.matches(gpu) for each in self.filters)
        return right_board and (self.devices is None or gpu.index in self.devices)


def parse_configs(root: Located, path: str) -> dict[str, tuple[Spec, ...]]:
    """Every configuration of a document by name; raises ConfigError with every problem."""
    reader = Reader(path)
    fields = reader.mapping(root, "document") or {}
    for name in fields.keys() - {"version", "mig-configs"}:
        reader.complain(fields[name], name[:40], "unknown key", "known: version, mig-configs")
    if fields.get("version", Located("", root.line)).value != VERSION:
        found = f"is {shown(fields['version'])}" if "version" in fields else "is missing"
        reader.complain(fields.get("version", root), "version", found, f"must be {VERSION}")
    configs = _configs(reader, fields.get("mig-configs", Located(None, root.line)))
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: problem.line))
    return configs


def choose(configs: Mapping[str, tuple[Spec, ...]], name: str | None, path: str) -> tuple[Spec, ...]:
    """The entries of the named configuration; of the only one where no name is given. Raises UsageError."""
    if name is None and len(configs) == 1:
        return next(iter(configs.values()))
    if name is not None and name in configs:
        return configs[name]
    known = ", ".join(configs)
    if name is None:
        raise UsageError(f"{path} has {len(configs)} configurations", f"name one with -c: {known}")
    raise UsageError(f"{path} has no configuration '{name[:60]}'", f"it has {known}")


def targets(specs: Sequence[Spec], snapshot: Snapshot) -> tuple[GpuTarget, ...]:
    """The targets of this node's GPUs; raises ConfigError for profiles that hamid or the GPU does not support."""
    chosen = {gpu.index: (spec, gpu) for spec in specs for gpu in snapshot.gpus if spec.matches(gpu)}
    problems = [problem for _, (spec, gpu) in sorted(chosen.items()) for problem in _problems(spec, gpu)]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return tuple(
        GpuTarget(gpu_index=index, mig_enabled=spec.mig_enabled, layout=spec.layout)
        for index, (spec, _) in sorted(chosen.items())
    )


def unmatched(specs: Sequence[Spec], snapshot: Snapshot) -> tuple[str, ...]:
    """A warning for every GPU that no entry names: it stays unchanged."""
    left = [gpu for gpu in snapshot.gpus if not any(spec.matches(gpu) for spec in specs)]
    return tuple(f"the configuration does not mention {gpu.title}; it stays unchanged" for gpu in left)


class _Alike(NamedTuple):
    """The content of an entry for equal GPUs: the board if the node has several, the mode and the instances."""

    board: str | None
    mig_enabled: bool
    devices: dict[str, int] | list[str]

    def entry(self, indices: list[int] | str) -> dict[str, object]:
        """The entry for these GPUs."""
        head = {"device-filter": self.board} if self.board else {}
        return {**head, "devices": indices, "mig-enabled": self.mig_enabled, "mig-devices": self.devices}


def export(snapshot: Snapshot, *, name: str = "current", placements: bool = False) -> dict[str, object]:
    """The node as a document of one configuration, ready for YAML or JSON; applied back it changes nothing.

    It has counts as mig-parted reads them, or with `placements` our list form. Equal GPUs of one board share an entry.
    Half-made instances and unreadable GPUs are omitted.
    """
    readable = [gpu for gpu in snapshot.gpus if is_served(gpu)]
    boards = {gpu.pci_device_id for gpu in readable}
    groups: list[tuple[_Alike, list[int]]] = []
    for gpu in readable:
        found = _alike(gpu, filtered=len(boards) > 1, placements=placements)
        same = next((indices for each, indices in groups if each == found), None)
        if same is None:
            groups.append((found, [gpu.index]))
        else:
            same.append(gpu.index)
    whole = len(groups) == 1 and len(readable) == len(snapshot.gpus)
    entries = [each.entry("all" if whole else indices) for each, indices in groups]
    return {"version": VERSION, "mig-configs": {name: entries}}


def _alike(gpu: Gpu, *, filtered: bool, placements: bool) -> _Alike:
    present = [each for each in gpu.instances if each.used or each.compute_instances]
    whole = sorted(present, key=lambda each: each.placement)
    devices = [f"{each.profile}@{each.placement.start}" for each in whole]
    return _Alike(
        board=gpu.pci_device_id if filtered else None,
        mig_enabled=gpu.mig_enabled,
        # mig-parted and hamid read {} in both forms, so an empty list is not needed.
        devices=devices if placements and devices else count_names(each.profile for each in whole),
    )


def _configs(reader: Reader, node: Located) -> dict[str, tuple[Spec, ...]]:
    if node.value is None:
        reader.complain(node, "mig-configs", "is missing", "a mapping of configuration names")
        return {}
    configs = reader.mapping(node, "mig-configs")
    if configs == {}:
        reader.complain(node, "mig-configs", "has no configuration")
    found = {}
    for name, entries in (configs or {}).items():
        specs = (_spec(reader, entry, key) for key, entry in reader.items(entries, f"mig-configs.{name[:60]}"))
        found[name] = tuple(spec for spec in specs if spec is not None)
    return found


def _spec(reader: Reader, node: Located, key: str) -> Spec | None:
    fields = reader.mapping(node, key)
    if fields is None:
        return None
    for name in sorted(fields.keys() - set(_SPEC_KEYS)):
        reader.complain(fields[name], f"{key}.{name[:40]}", "unknown key", f"known: {', '.join(_SPEC_KEYS)}")
    missing = [name for name in _NEEDED if name not in fields]
    for name in missing:
        reader.complain(node, f"{key}.{name}", "is missing", f"needed: {', '.join(_NEEDED)}")
    if missing:
        return None
    enabled = _enabled(reader, fields["mig-enabled"], f"{key}.mig-enabled")
    devices = fields.get("mig-devices", Located(None, node.line))
    layout, shared = _instances(reader, devices, f"{key}.mig-devices")
    if enabled and devices.value is None:
        reader.complain(
            devices, f"{key}.mig-devices", "is missing", "required with mig-enabled: true; {} means no instances"
        )
    if not enabled and (layout or shared):
        reader.complain(devices, f"{key}.mig-devices", "lists instances, but mig-enabled is not true")
    return Spec(
        filters=_filters(reader, fields.get("device-filter", Located((), node.line)), f"{key}.device-filter"),
        devices=_devices(reader, fields["devices"], f"{key}.devices"),
        mig_enabled=enabled,
        layout=layout,
        shared=shared,
        path=reader.path,
        line=node.line,
        key=key,
    )


def _enabled(reader: Reader, node: Located, key: str) -> bool:
    if not isinstance(node.value, bool):
        reader.complain(node, key, f"is {node.kind} ({shown(node)})", "true or false")
    return node.value is True


def _filters(reader: Reader, node: Located, key: str) -> tuple[DeviceId, ...]:
    """No filter, an empty one and an empty text mean every board."""
    if node.value in {"", None} if not isinstance(node.value, dict | tuple) else node.value == ():
        return ()
    entries = reader.items(node, key) if isinstance(node.value, tuple) else [(key, node)]
    found = (_device_id(reader, entry, name) for name, entry in entries)
    return tuple(each for each in found if each is not None)


def _device_id(reader: Reader, node: Located, key: str) -> DeviceId | None:
    """`0x20B010DE`, or with a subsystem `0x2BB510DE:0x204B10DE`; YAML reads an unquoted one as a number."""
    text = str(node.value) if isinstance(node.value, str | int) and not isinstance(node.value, bool) else ""
    parts = text.split(":")
    if len(parts) > len(("primary", "subsystem")) or not all(_ID.fullmatch(part) for part in parts):
        reader.complain(node, key, f"is {shown(node)}", _FILTER_SHAPE)
        return None
    primary, *subsystem = (_number(part) for part in parts)
    return DeviceId(primary or 0, *subsystem)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text, 16 if text[:2].lower() == "0x" else 10)


def _devices(reader: Reader, node: Located, key: str) -> tuple[int, ...] | None:
    """The indices, or None for all; an empty list is legal and names no GPU."""
    if node.value == "all":
        return None
    if not isinstance(node.value, tuple):
        reader.complain(node, key, f"is {node.kind} ({shown(node)})", "all, or a list of GPU indices")
        return ()
    found = [reader.number(entry, f"{key}[{number}]", 0, _MAX_INDEX) for number, entry in enumerate(node.value)]
    return tuple(index for index in found if index is not None)


class _Row(NamedTuple):
    """One line of `mig-devices`: the profile as written, its start, its count, and its location in the file."""

    profile: str
    start: int | None
    times: int
    node: Located
    key: str


def _instances(reader: Reader, node: Located, key: str) -> tuple[tuple[LayoutItem, ...], tuple[str, ...]]:
    """The layout, and the names of profiles that divide an instance."""
    items: list[LayoutItem] = []
    shared: list[str] = []
    for row in _rows(reader, node, key):
        plain = whole_profile(row.profile)
        if plain is None:
            shared.append(row.profile)
        elif not PROFILE_NAME.fullmatch(plain):
            reader.complain(row.node, row.key, f"'{row.profile[:40]}' is not a profile name", _PROFILE_SHAPE)
        elif len(items) + row.times > MAX_COUNT:
            reader.complain(row.node, row.key, f"more than {MAX_COUNT} instances on one GPU")
            break
        else:
            items.extend([LayoutItem(plain, row.start)] * row.times)
    return tuple(items), tuple(dict.fromkeys(shared))


def _rows(reader: Reader, node: Located, key: str) -> Iterator[_Row]:
    if isinstance(node.value, dict):
        yield from _counted(reader, node.value, key)
    elif isinstance(node.value, tuple):
        yield from _listed(reader, node.value, key)
    elif node.value is not None:
        reader.complain(node, key, f"is {node.kind} ({shown(node)})", "profiles with counts, or a list as 3g.20gb@4")


def _counted(reader: Reader, entries: Mapping[str, Located], key: str) -> Iterator[_Row]:
    total = 0
    for name, node in entries.items():
        where = f"{key}.{name[:40]}"
        count = reader.number(node, where, 0, MAX_COUNT)
        total += 1 if count is None else count
        yield _Row(name, None, count or 0, node, where)
    if entries and not total:
        reader.complain(next(iter(entries.values())), key, "has only zero counts", "{} means no instances")


def _listed(reader: Reader, entries: Sequence[Located], key: str) -> Iterator[_Row]:
    for number, node in enumerate(entries):
        where = f"{key}[{number}]"
        match = _LISTED.fullmatch(node.value) if isinstance(node.value, str) else None
        if match is None:
            reader.complain(node, where, f"is {shown(node)}", "a profile, then @START or *COUNT, such as 3g.20gb@4")
            continue
        count = int(match["count"] or 1)
        if not 1 <= count <= MAX_COUNT:
            reader.complain(node, where, f"counts {count}", f"from 1 to {MAX_COUNT}")
            continue
        yield _Row(match["profile"], int(match["start"]) if match["start"] else None, count, node, where)


def _problems(spec: Spec, gpu: Gpu) -> Iterator[Problem]:
    """Profiles in an entry that this GPU cannot have; the planner checks a GPU that lists no profiles."""
    key = f"{spec.key}.mig-devices"
    for name in spec.shared:
        message, hint = dividing(name)
        yield Problem(spec.path, spec.line, key, message, hint)
    known = {profile.name for profile in gpu.profiles}
    for name in dict.fromkeys(item.profile for item in spec.layout):
        if known and name not in known:
            legal = f"it has {legal_names(gpu.profiles)}"
            yield Problem(spec.path, spec.line, key, f"{gpu.title} has no profile '{name}'", legal)
