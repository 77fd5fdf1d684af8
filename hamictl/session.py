# SPDX-License-Identifier: Apache-2.0
"""One run of hamictl: the options that every command shares, the node behind them, and where output goes."""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from hamictl import node_access
from hamid.core.documents.envelope import Document
from hamid.core.errors import UsageError

if TYPE_CHECKING:
    from hamictl.node_access import Paths
    from hamid.core.hardware.snapshot import Snapshot


class Output(StrEnum):
    """The forms of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    MIG_PARTED = "mig-parted"


class Shared(Struct, frozen=True):
    """The shared options as given so far; a later position overrides an earlier one."""

    sim: str | None = None
    root: str | None = None
    output: Output | None = None

    def override(self, *, sim: str | None, root: str | None, output: Output | None) -> "Shared":
        """These options with those that were given again."""
        return Shared(
            sim=self.sim if sim is None else sim,
            root=self.root if root is None else root,
            output=self.output if output is None else output,
        )


class Session:
    """What a command gets beside its own options."""

    def __init__(self, shared: Shared) -> None:
        self.sim = shared.sim
        self.root = shared.root
        self.output = shared.output or Output.TABLE

    @cached_property
    def paths(self) -> "Paths":
        """Where the files of this node are; for commands that do not ask its driver."""
        return node_access.paths_of(self.sim, self.root)

    @cached_property
    def node(self) -> "Paths":
        """The same paths once the driver can be asked; with --sim that is the simulated driver."""
        return node_access.open_node(self.sim, self.root)

    def snapshot(self) -> "Snapshot":
        """The node as it is now; what could not be found out is said on stderr."""
        found = node_access.snapshot(self.node)
        for warning in found.warnings:
            sys.stderr.write(f"warning: {warning}\n")
        return found

    def state_file(self, state: str | None) -> str:
        """The state file of a lasting simulated node: `--state`, else `--sim`, else HAMI_SIM_STATE."""
        found = state or self.sim or os.environ.get("HAMI_SIM_STATE")
        if not found:
            raise UsageError("which simulated node?", "name its state file with --state FILE or --sim FILE")
        if node_access.is_spec(found):
            raise UsageError(f"'{found}' describes a throw-away node", "name a state file with --state FILE")
        return found

    @property
    def structured(self) -> bool:
        """True when the answer is for a program: one document and nothing else on stdout."""
        return self.output not in {Output.TABLE, Output.WIDE}

    @property
    def wide(self) -> bool:
        """True when more columns were asked for."""
        return self.output is Output.WIDE

    def emit(self, document: Document, text: Callable[[], str]) -> None:
        """Print the answer in the form that was asked; `text` makes the one for people."""
        if not self.structured:
            sys.stdout.write(text())
            return
        self.write(document, self.output)

    def write(self, document: Document, form: str) -> None:
        """Print a document as json, yaml or names."""
        from hamictl.render import documents

        sys.stdout.write(documents.render(document, form))
