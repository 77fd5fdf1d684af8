# SPDX-License-Identifier: Apache-2.0
"""The log: one event, one line, on stderr. With priorities for the journal, in colour on a terminal, or as JSON."""

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hamid.core.config.config import LogForm
from hamid.node.ports import Logger

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
# syslog(3): what journald reads from the <N> at the beginning of a line.
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_STDERR: Final = 2
# A tuple: a value of a field may be a list, which no set can be asked for.
_NOTHING: Final[tuple[object, ...]] = (None, "", [])


class _Threshold:
    """The minimum level that is written; a reload may change it under existing loggers."""

    value = _LEVELS["info"]

    def __call__(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if _LEVELS.get(_level(method), _LEVELS["error"]) < self.value:
            raise structlog.DropEvent
        return event


_threshold: Final = _Threshold()


class _Stderr:
    """Writes whole lines; two threads never share one."""

    def msg(self, line: str) -> None:
        # The reader of the log may end before hamid, which then goes on without a log.
        with contextlib.suppress(OSError):
            os.write(_STDERR, f"{line}\n".encode(errors="backslashreplace"))

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Forward(logging.Handler):
    """What libraries say through the standard library's log."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        logger = structlog.get_logger()
        logger.log(record.levelno, "library", logger=record.name, message=message, exc_info=record.exc_info)


def setup(form: LogForm, level: str, environment: Mapping[str, str]) -> Logger:
    """Make every logger of this process write so; the logger of the daemon."""
    chosen = _detect(environment) if form is LogForm.AUTO else form
    set_level(level)
    structlog.configure(
        processors=[_threshold, _shared, *_RENDERERS[chosen](environment)],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS["debug"]),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    logger: Logger = structlog.get_logger()
    return logger


def set_level(level: str) -> None:
    """Set the minimum level: debug, info, warning or error."""
    _threshold.value = _LEVELS[level]


def _detect(environment: Mapping[str, str]) -> LogForm:
    """systemd.exec(5): JOURNAL_STREAM names the journal's own end of stderr."""
    status = os.fstat(_STDERR)
    if environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return LogForm.JOURNAL
    return LogForm.CONSOLE if sys.stderr.isatty() else LogForm.JSON


def _level(method: str) -> str:
    return {"exception": "error", "warn": "warning", "fatal": "critical"}.get(method, method)


def _shared(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The level, and nothing where a field has nothing to say."""
    fields = {key: value for key, value in event.items() if key == "event" or value not in _NOTHING}
    return {"event": fields.pop("event"), "level": _level(method), **fields}


def _journal_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """`<6>claim_released claim=… gpu=…`: journald keeps the time, the priority leaves the text."""
    level = event.pop("level")
    name = str(event.pop("event"))
    words = structlog.processors.LogfmtRenderer(bool_as_flag=False)(logger, method, event)
    return f"<{_PRIORITIES[level]}>{_one_line(name)}{' ' if words else ''}{words}"


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _journal(_: Mapping[str, str]) -> list[Processor]:
    return [structlog.processors.format_exc_info, _journal_line]


def _json(_: Mapping[str, str]) -> list[Processor]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return [stamp, structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]


def _console(environment: Mapping[str, str]) -> list[Processor]:
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    return [stamp, structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in environment)]


_RENDERERS: Final = {LogForm.JOURNAL: _journal, LogForm.JSON: _json, LogForm.CONSOLE: _console}
