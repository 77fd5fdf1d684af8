# SPDX-License-Identifier: Apache-2.0
"""What commands need from a node, whoever answers: this process itself, or later the daemon."""

from typing import Protocol

from hamid.core.snapshot import Snapshot
from hamid.core.templates import TemplateTable


class Backend(Protocol):
    """The node as the commands see it."""

    def snapshot(self) -> Snapshot:
        """The node as it is now."""
        ...

    def templates(self, file: str | None) -> TemplateTable:
        """The template table of `file`, or the one in force on the node."""
        ...
