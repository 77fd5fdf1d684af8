# SPDX-License-Identifier: Apache-2.0
"""The configuration while hamid runs: read anew when a file changes or somebody asks; a bad one changes nothing."""

import os
import tempfile
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from hamid.core.config import Config
from hamid.core.config_change import Changed, compare, document, within_reach
from hamid.core.errors import HamiError
from hamid.core.settings import Change
from hamid.node import configdir
from hamid.node.paths import Paths

RUNNING: Final = "config.json"


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload came to: the configuration for now, what changed, and which of it waits for a new start."""

    config: Config
    changed: tuple[Changed, ...] = ()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The settings that need a new start of hamid."""
        return tuple(each.name for each in self.changed if each.change is Change.RESTART)


class Reloader:
    """Keeps the configuration that is in force; `problem` says what is wrong with the files, if anything is."""

    def __init__(self, paths: Paths, environment: Mapping[str, str], log: Any) -> None:
        self._paths = paths
        self._environment = environment
        self._log = log
        self._signature: configdir.Signature | None = None
        self.problem = ""
        self.version = 0
        self.config = Config()

    def start(self) -> Config:
        """The configuration to begin with; raises ConfigError or UsageError."""
        self._signature = configdir.signature(self._paths)
        self.config = self._read()
        self._keep()
        return self.config

    def changed(self) -> bool:
        """True when the files are others than those that were read last; cheap."""
        try:
            return configdir.signature(self._paths) != self._signature
        except HamiError:
            return not self.problem

    def reload(self) -> Reloaded | None:
        """Read the files; None when they cannot be used, and what is in force stays so."""
        try:
            self._signature = configdir.signature(self._paths)
            wanted = self._read()
        except HamiError as error:
            self.problem = error.message
            self._log.error("config_refused", problems=error.message.splitlines(), in_force=self.version)
            return None
        changed = compare(self.config, wanted)
        self.problem = ""
        self.config = within_reach(self.config, wanted)
        self._keep()
        return Reloaded(config=self.config, changed=changed)

    def _read(self) -> Config:
        parsed = configdir.read_config(self._paths, self._environment)
        for note in parsed.notes:
            self._log.info("config_note", text=note)
        return parsed.config

    def _keep(self) -> None:
        """Write down what is in force, for `hamictl config diff`; a node without /run/hami has no such file."""
        self.version += 1
        text = msgspec.json.format(msgspec.json.encode(document(self.config)))
        try:
            os.makedirs(self._paths.run_dir, mode=0o755, exist_ok=True)  # noqa: PTH103
            with tempfile.NamedTemporaryFile(dir=self._paths.run_dir, delete=False) as file:
                file.write(text)
            os.chmod(file.name, 0o644)  # noqa: PTH101
            os.replace(file.name, running_file(self._paths))  # noqa: PTH105
        except OSError as error:
            self._log.warning("config_not_written_down", error=str(error))


def running_file(paths: Paths) -> str:
    """Where a running hamid writes down its configuration."""
    return os.path.join(paths.run_dir, RUNNING)  # noqa: PTH118
