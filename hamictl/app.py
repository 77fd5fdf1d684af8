# SPDX-License-Identifier: Apache-2.0
"""The command tree. Each noun's module is imported on first use, which keeps start-up short."""

import importlib
from collections.abc import Mapping
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from hamictl.options import OutputOption, Root, Sim, remember

_NOUNS: Final[Mapping[str, str]] = {
    "alloc": "hamictl.commands.alloc",
    "gpu": "hamictl.commands.gpu",
    "config": "hamictl.commands.config",
    "lib": "hamictl.commands.lib",
    "mig": "hamictl.commands.mig",
    "service": "hamictl.commands.service",
    "sim": "hamictl.commands.sim",
    "version": "hamictl.commands.version",
}


class LazyGroup(TyperGroup):
    """The root group: lists the nouns by name and imports each on demand."""

    def list_commands(self, ctx: object) -> list[str]:
        """The nouns, in the order of the help page."""
        return list(_NOUNS)

    def get_command(self, ctx: object, cmd_name: str) -> Any:
        """The noun's command, or None for an unknown name. The type is Any because typer's class is private."""
        module = _NOUNS.get(cmd_name)
        if module is None:
            return None
        command = get_command(importlib.import_module(module).app)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="hamictl",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(context: typer.Context, sim: Sim = None, root: Root = None, output: OutputOption = None) -> None:
    """Inspect, plan and change how this node, or a simulated one, shares its NVIDIA GPUs.

    \b
    Examples:
      hamictl gpu list
      hamictl mig plan --mem 8000 --count 2
      hamictl --sim 2xA100-SXM4-40GB mig plan --mem 8000 --count 2 -o json

    \b
    Exit codes: 0 ok, 1 failure, 2 usage error or invalid configuration, 3 changes pending, 4 not permitted,
    5 daemon unreachable, 6 no driver or GPU, 7 refused (in use, or the plan is stale), 8 request cannot fit,
    9 partially done, 130 interrupted.
    """
    remember(context, sim=sim, root=root, output=output)
