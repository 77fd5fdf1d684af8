# SPDX-License-Identifier: Apache-2.0
"""The memory-slice axis of a GPU as a line of boxes: current instances, planned changes and free slices.

0       1       2       3       4       5       6       7
|+ 2g.10gb      |+ 2g.10gb      |. . . . . . . . . . . . . . . .|
"""

from collections.abc import Iterable
from typing import NamedTuple

from hamid.core.hardware.profile import Placement

_NARROWEST = 6


class Box(NamedTuple):
    """One instance on the axis; `mark` is one character: + create, * reuse, = keep, - destroy."""

    mark: str
    label: str
    placement: Placement


def draw(axis: int, boxes: Iterable[Box]) -> list[str]:
    """A ruler, a row of boxes, and below it a row of the boxes to be destroyed."""
    every = sorted(boxes, key=lambda box: box.placement)
    width = _cell_width(every)
    rows = [_row(axis, width, [box for box in every if box.mark != "-"], free=".")]
    destroyed = [box for box in every if box.mark == "-"]
    if destroyed:
        rows.append(_row(axis, width, destroyed, free=" "))
    return ["".join(str(number).ljust(width) for number in range(axis)).rstrip(), *rows]


def _cell_width(boxes: list[Box]) -> int:
    """Characters per slice: enough for the longest label to fit its box."""
    needs = [-(-(len(box.label) + 4) // box.placement.size) for box in boxes]
    return max([_NARROWEST, *needs])


def _row(axis: int, width: int, boxes: list[Box], *, free: str) -> str:
    cells = [f"|{free * (width - 1)}" if free != " " else " " * width for _ in range(axis)]
    for box in boxes:
        text = f"|{box.mark} {box.label}".ljust(width * box.placement.size)
        cells[box.placement.start : box.placement.end] = [text, *[""] * (box.placement.size - 1)]
    closed = "".join(cells) + ("|" if free != " " else "")
    return closed.rstrip()
