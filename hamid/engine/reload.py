# SPDX-License-Identifier: Apache-2.0
"""The running configuration: read again on SIGHUP or when a file changes. An invalid one changes nothing.

The serving process writes its configuration to /run/hami/config.json, for `hamictl config diff`.
"""

import contextlib
import os
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from hamid.core.config.config import Config
from hamid.core.config.difference import ChangedSetting, compare, document, templates_mark, within_reach
from hamid.core.config.setting import TakesEffect
from hamid.core.errors import HamiError, NodeError
from hamid.node.config import files
from hamid.node.files.replace import replace_file
from hamid.node.paths import Paths
from hamid.node.ports import Logger
from hamid.node.system.processes import started_at

RUNNING: Final = "config.json"
_MOST_BYTES: Final = 1024 * 1024


class RunningConfig(Struct, frozen=True, kw_only=True):
    """What a serving hamid published: its pid and start time, its configuration, and the problem of newer files."""

    pid: int
    started: str
    version: int
    problem: str
    settings: dict[str, object]
    templates: str


class Reloaded(Struct, frozen=True, kw_only=True):
    """The outcome of a reload: the configuration, what changed, and which changes wait for a restart."""

    config: Config
    changed: tuple[ChangedSetting, ...] = ()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The settings that need a restart of hamid."""
        return tuple(each.name for each in self.changed if each.change is TakesEffect.RESTART)


class Reloader:
    """Holds the current configuration; `problem` describes what is wrong with the files, if anything is."""

    def __init__(self, paths: Paths, environment: Mapping[str, str], log: Logger) -> None:
        self._paths = paths
        self._environment = environment
        self._log = log
        self._signature: files.Signature | None = None
        self.problem = ""
        self.version = 0
        self.config = Config()

    def start(self) -> Config:
        """The configuration at start; raises ConfigError or UsageError."""
        self._signature = files.signature(self._paths)
        self.config = self._read()
        self.version = 1
        return self.config

    def changed(self) -> bool:
        """True when the files changed since they were read last; cheap."""
        try:
            return files.signature(self._paths) != self._signature
        except HamiError:
            return not self.problem

    def reload(self) -> Reloaded | None:
        """Read the files; None if they are invalid, and then the current configuration stays."""
        # Unknown until it was read: files that come back as they were are read again.
        self._signature = None
        try:
            self._signature = files.signature(self._paths)
            wanted = self._read()
        except HamiError as error:
            self.problem = error.message
            self.publish()
            self._log.error("config_refused", problems=error.message.splitlines(), in_force=self.version)
            return None
        changed = compare(self.config, wanted)
        self.problem = ""
        self.config = within_reach(self.config, wanted)
        self.version += 1
        self.publish()
        return Reloaded(config=self.config, changed=changed)

    def _read(self) -> Config:
        parsed = files.read_config(self._paths, self._environment)
        for note in parsed.notes:
            # A node that HAMi's file does not name may get other settings than its operator expects.
            self._log.warning("config_note", text=note)
        return parsed.config

    def publish(self) -> None:
        """Publish the configuration; only for the process that holds the ledger. A failure is only logged."""
        found = RunningConfig(
            pid=os.getpid(),
            started=started_at(os.getpid()),
            version=self.version,
            problem=self.problem,
            settings=document(self.config),
            templates=templates_mark(self.config),
        )
        text = msgspec.json.format(msgspec.json.encode(found))
        try:
            os.makedirs(self._paths.run_dir, mode=0o755, exist_ok=True)
            replace_file(running_file(self._paths), text, durable=False)
        except OSError as error:
            self._log.warning("config_not_written_down", error=str(error))

    def withdraw(self) -> None:
        """Remove the published configuration."""
        with contextlib.suppress(OSError):
            os.unlink(running_file(self._paths))


def running(paths: Paths) -> RunningConfig | None:
    """What the running hamid published; None if hamid is not running. Raises NodeError if it cannot be read."""
    path = running_file(paths)
    try:
        with open(path, "rb") as file:
            found = msgspec.json.decode(file.read(_MOST_BYTES), type=RunningConfig)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise NodeError(f"cannot read '{path}': {error}", "restart hamid, which rewrites the file") from error
    return found if found.started and started_at(found.pid) == found.started else None


def running_file(paths: Paths) -> str:
    """Where a running hamid publishes its configuration."""
    return os.path.join(paths.run_dir, RUNNING)
