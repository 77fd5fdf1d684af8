# SPDX-License-Identifier: Apache-2.0
"""Tables as text. rich handles colour, width and NO_COLOR; without a terminal nothing is truncated or coloured."""

import io
import sys
from collections.abc import Iterable, Sequence

# Wide enough that nothing wraps when the output is a pipe.
_PIPE_WIDTH = 1000


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a heading line, or a line that says it is empty."""
    body = [["-" if value is None or value == "" else str(value) for value in row] for row in rows]
    if not body:
        return "nothing to show\n"
    # Imported here because rich slows down start-up and json output does not need it.
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, no_wrap=True)
    for row in body:
        grid.add_row(*row)
    return _to_text(grid)


def _to_text(grid: object) -> str:
    """A renderable as text that fits this terminal."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=True if terminal else None,
        width=None if terminal else _PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(grid)
    return "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())
