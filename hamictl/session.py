# SPDX-License-Identifier: Apache-2.0
"""One run of hamictl: the shared options, the node that they select, and the output."""

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
    """The output formats of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    MIG_PARTED = "mig-parted"


class Shared(Struct, frozen=True):
    """The shared options given so far; a later position overrides an earlier one."""

    sim: str | None = None
    root: str | None = None
    output: Output | None = None

    def override(self, *, sim: str | None, root: str | None, output: Output | None) -> "Shared":
        """These options, overridden by those that are not None."""
        return Shared(
            sim=self.sim if sim is None else sim,
            root=self.root if root is None else root,
            output=self.output if output is None else output,
        )


class Session:
    """What a command gets in addition to its own options."""

    def __init__(self, shared: Shared) -> None:
        self.sim = shared.sim
        self.root = shared.root
        self.output = shared.output or Output.TABLE

    @cached_property
    def paths(self) -> "Paths":
        """The paths of this node's files, for commands that do not use the driver."""
        return node_access.paths_of(self.sim, self.root)

    @cached_property
    def node(self) -> "Paths":
        """The same paths, with the driver ready for use; with --sim it is the simulated driver."""
        return node_access.open_node(self.sim, self.root)

    def snapshot(self) -> "Snapshot":
        """The current state of the node; warnings about what could not be read go to stderr."""
        found = node_access.snapshot(self.node)
        for warning in found.warnings:
            sys.stderr.write(f"warning: {warning}\n")
        return found

    def state_file(self, state: str | None) -> str:
        """The state file of a persistent simulated node: `--state`, else `--sim`, else HAMI_SIM_STATE."""
        found = state or self.sim or os.environ.get("HAMI_SIM_STATE")
        if not found:
            raise UsageError("no simulated node specified", "name its state file with --state FILE or --sim FILE")
        if node_access.is_spec(found):
            raise UsageError(f"'{found}' is a temporary node, not a state file", "name a state file with --state FILE")
        return found

    @property
    def structured(self) -> bool:
        """True if stdout gets one document for a program and nothing else."""
        return self.output not in {Output.TABLE, Output.WIDE}

    @property
    def wide(self) -> bool:
        """True for -o wide, which adds columns."""
        return self.output is Output.WIDE

    def emit(self, document: Document, text: Callable[[], str]) -> None:
        """Print the output in the format of -o; `text` returns the text for people."""
        if not self.structured:
            sys.stdout.write(text())
            return
        self.write(document, self.output)

    def write(self, document: Document, form: str) -> None:
        """Print a document as json, yaml or names."""
        from hamictl.render import documents

        sys.stdout.write(documents.render(document, form))
