# SPDX-License-Identifier: Apache-2.0
"""Fits configured templates to the GPUs of this node: groups flat lists and refuses impossible templates.

It also warns where HAMi itself would choose other templates for a GPU: HAMi looks for the model name as a substring
of the product name and takes the first entry that has it, so H20 also matches an H200.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.hardware.board import Board, board_of
from hamid.core.hardware.geometry import format_geometry, legal_names
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.profile import Profile
from hamid.core.located import ConfigError, Problem
from hamid.core.planner.templates import ModelTemplates, Template, TemplateSlot, TemplateTable


class FittedTable(Struct, frozen=True):
    """A table whose templates all fit the GPUs that they are for, and warnings for the operator."""

    table: TemplateTable
    warnings: tuple[str, ...]


def fit_table(table: TemplateTable, gpus: Sequence[Gpu]) -> FittedTable:
    """The table for these GPUs. Raises ConfigError for templates that one of them cannot hold.

    The shipped table may lag behind a driver that renames profiles, so only an operator's file is checked.
    """
    problems: list[Problem] = []
    warnings: list[str] = []
    entries = list(table.entries)
    for gpu in gpus:
        entry = table.lookup(gpu.name)
        if entry is None or not gpu.profiles:
            continue
        number = table.entries.index(entry)
        fitted = _grouped(entries[number], board_of(gpu.profiles))
        if entry.flat and entries[number].flat:
            groups = " | ".join(format_geometry(template.geometry) for template in fitted.templates)
            warnings.append(
                f"{table.source}:{entry.line}: a flat allowedGeometries, which HAMi rejects; hamid reads it as {groups}"
            )
        entries[number] = fitted
        problems += _problems(table, fitted, gpu) if table.configured else []
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    found = replace(table, entries=tuple(entries))
    warnings += [text for gpu in gpus for text in _hami_differs(found, gpu)]
    return FittedTable(found, tuple(dict.fromkeys(warnings)))


def _grouped(entry: ModelTemplates, board: Board) -> ModelTemplates:
    """A flat list as templates: each slot joins the group before it while the board can hold both together."""
    if not entry.flat:
        return entry
    groups: list[list[TemplateSlot]] = []
    for slot in entry.flat:
        joined = [*groups[-1], slot] if groups else [slot]
        repeats = len({each.name for each in joined}) < len(joined)
        if groups and not repeats and _holds(board, joined):
            groups[-1] = joined
        else:
            groups.append([slot])
    templates = [Template(index, tuple(slots), line=slots[0].line) for index, slots in enumerate(groups)]
    return replace(entry, templates=tuple(templates), flat=())


def _holds(board: Board, slots: Sequence[TemplateSlot]) -> bool:
    profiles: list[Profile] = []
    for slot in slots:
        profile = board.named(slot.name)
        if profile is None or slot.count > profile.max_instances:
            return False
        profiles += [profile] * slot.count
    return board.can_seat(board.empty, sorted(profiles, key=lambda p: (-p.size, p.profile_id)))


def _problems(table: TemplateTable, entry: ModelTemplates, gpu: Gpu) -> Iterator[Problem]:
    board = board_of(gpu.profiles)
    for template in entry.templates:
        key = f"allowedGeometries[{template.index}]"
        unknown = [slot for slot in template.slots if board.named(slot.name) is None]
        for slot in unknown:
            message = f"{gpu.title} has no profile {slot.name}"
            yield Problem(table.source, slot.line, key, message, f"it has {legal_names(board.profiles)}")
        if not unknown and not _holds(board, template.slots):
            message = f"{gpu.title} cannot hold {format_geometry(template.geometry)}"
            most = ", ".join(f"{profile.name}*{profile.max_instances}" for profile in board.profiles)
            yield Problem(table.source, template.line, key, message, f"maximum count of each alone: {most}")


def _hami_differs(table: TemplateTable, gpu: Gpu) -> Iterator[str]:
    """A warning when HAMi's first substring match differs from our entry."""
    name = gpu.name or ""
    ours = table.lookup(name)
    theirs = next((e for e in table.entries if any(model in name for model in e.models)), None)
    if ours is theirs:
        return
    choice = f"the templates of {' / '.join(theirs.models)}" if theirs else "no template"
    used = f"those of {' / '.join(ours.models)}" if ours else "none"
    yield f"HAMi matches models by substring and would use {choice} for '{name}'; hamid uses {used}"
