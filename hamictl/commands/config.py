# SPDX-License-Identifier: Apache-2.0
"""hamictl config: show, check and compare hamid's configuration."""

import sys
from typing import Annotated

import typer

from hamictl import node_access
from hamictl.options import noun, verb
from hamictl.render import configuration
from hamictl.session import Session
from hamid.core.config.config import BY_NAME, nearest
from hamid.core.config.difference import templates_mark
from hamid.core.documents.config import check_document, difference_document, settings_document
from hamid.core.errors import DaemonMissing, UsageError
from hamid.core.exits import Exit
from hamid.core.located import ConfigError

app = noun("config", "Show, check and compare hamid's configuration.")

NodeName = Annotated[
    str | None,
    typer.Option("--node", metavar="NAME", help="Node whose entry in HAMi's config.json applies (default: NODE_NAME)."),
]
Path = Annotated[
    str | None,
    typer.Argument(metavar="[PATH]", help="A file, or a directory like /etc/hami (default: this node's files)."),
]


@verb(app, "show")
def show(
    session: Session,
    setting: Annotated[
        list[str] | None, typer.Argument(metavar="[SETTING]...", help="Settings to show (default: all).")
    ] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Show the file and line of each value.")] = False,
    node: NodeName = None,
) -> None:
    """Show the settings in this node's files, including HAMi's own files.

    \b
    Examples:
      hamictl config show --origin
      hamictl config show mode gpu_modes -o json
    """
    for name in setting or ():
        if name not in BY_NAME:
            raise UsageError(
                f"unknown setting '{name[:80]}'", nearest(name) or "list all settings with: hamictl config show"
            )
    files = node_access.config_files(session.paths, None)
    document = settings_document(node_access.read_config(files, node), files.names, tuple(setting or ()))

    _tell(document["notes"])
    session.emit(document, lambda: configuration.settings_page(document, origin=origin, wide=session.wide))


@verb(app, "check")
def check(session: Session, path: Path = None, node: NodeName = None) -> int:
    """Check the configuration and list every problem.

    \b
    Examples:
      hamictl config check
      hamictl config check ./hamid.yaml
      hamictl config check ./config.json --node gpu-worker-7 -o json

    \b
    Exit code: 2 if hamid would refuse the configuration.
    """
    files = node_access.config_files(session.paths, path)
    try:
        document = check_document((), files.names, node_access.read_config(files, node).notes)
    except ConfigError as error:
        document = check_document(error.problems, files.names, ())

    session.emit(document, lambda: configuration.check_page(document))
    return Exit.OK if document["valid"] else Exit.USAGE


@verb(app, "diff")
def compare(session: Session, path: Path = None) -> int:
    """Compare the running configuration with the files. The last column tells what applies a change.

    \b
    Examples:
      hamictl config diff
      hamictl config diff ./new-etc-hami

    \b
    Exit codes: 0 no difference, 2 the files are invalid, 3 they differ, 5 hamid is not running.
    """
    running = node_access.config_in_force(session.paths)
    if running is None:
        raise DaemonMissing(
            "hamid is not running on this node", "start hamid.service, or read the files with: hamictl config show"
        )
    # The name in the daemon's environment; hamictl's environment may have no NODE_NAME.
    node = str(running.settings.get("node_name", "")) or None
    wanted = node_access.read_config(node_access.config_files(session.paths, path), node).config
    templates = (running.templates, templates_mark(wanted))
    document = difference_document(
        running.settings, wanted, templates, pid=running.pid, version=running.version, problem=running.problem
    )

    session.emit(document, lambda: configuration.difference_page(document))
    return Exit.PENDING if document["changes"] else Exit.OK


def _tell(notes: list[str]) -> None:
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
