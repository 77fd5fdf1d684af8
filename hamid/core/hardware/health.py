# SPDX-License-Identifier: Apache-2.0
"""Decides which driver events make a GPU sick, and for how long.

The list of ignored Xids is that of NVIDIA's and HAMi's device plugins: application errors, which do not
mean that the GPU is sick. Unlike in those plugins, a sick GPU can recover without a restart of the daemon.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

IGNORED_XIDS: Final = frozenset({13, 31, 43, 45, 68, 109})
_DISABLE: Final = "DP_DISABLE_HEALTHCHECKS"
_ENABLE: Final = "DP_ENABLE_HEALTHCHECKS"
_ALL: Final = frozenset({"all", "xids"})


class EventKind(StrEnum):
    """What happened to a GPU."""

    XID = "Xid"
    DOUBLE_BIT_ECC = "double-bit ECC error"


class HealthEvent(Struct, frozen=True, kw_only=True):
    """One event; `code` is the Xid. An empty `gpu_uuid` means every GPU: the driver named none."""

    gpu_uuid: str
    kind: EventKind
    code: int = 0

    def __str__(self) -> str:
        return f"{self.kind.value} {self.code}" if self.kind is EventKind.XID else self.kind.value


class HealthRules(Struct, frozen=True, kw_only=True):
    """The health rules. With `recovery_seconds` 0, a sick GPU stays sick until hamid restarts."""

    enabled: bool = True
    ignored: frozenset[int] = IGNORED_XIDS
    recovery_seconds: float = 0.0

    def is_critical(self, event: HealthEvent) -> bool:
        """True when nothing new may start on the GPU after this event."""
        return event.kind is not EventKind.XID or event.code not in self.ignored


def rules(
    environment: Mapping[str, str],
    *,
    health_checks: bool = True,
    ignored_xids: Iterable[int] = (),
    recovery_seconds: float = 0.0,
) -> HealthRules:
    """The rules from the settings and from the variables of NVIDIA's plugin; a variable that enables an Xid wins."""
    disabled = _words(environment.get(_DISABLE, ""))
    enabled = _words(environment.get(_ENABLE, ""))
    ignored = (IGNORED_XIDS | set(ignored_xids) | _xids(disabled)) - _xids(enabled)
    return HealthRules(
        enabled=health_checks and not disabled & _ALL,
        ignored=frozenset(ignored),
        recovery_seconds=recovery_seconds,
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in text.split(",") if word.strip())


def _xids(words: frozenset[str]) -> set[int]:
    return {int(word) for word in words if word.isascii() and word.isdigit() and len(word) <= len("1000000")}


class Sickness(Struct, frozen=True, kw_only=True):
    """Sick GPUs by uuid: the text and the time of the last event, on the caller's clock."""

    gpus: Mapping[str, tuple[str, float]] = {}

    def after(self, uuid: str, event: HealthEvent, now: float) -> "Sickness":
        """The state after one more event."""
        return Sickness(gpus={**self.gpus, uuid: (str(event), now)})

    def recovered(self, rules_in_force: HealthRules, now: float) -> tuple[str, ...]:
        """The GPUs without events for long enough."""
        seconds = rules_in_force.recovery_seconds
        return tuple(uuid for uuid, (_, at) in self.gpus.items() if seconds and now - at >= seconds)

    def without(self, uuids: tuple[str, ...]) -> "Sickness":
        """The state after these GPUs recovered."""
        return Sickness(gpus={uuid: what for uuid, what in self.gpus.items() if uuid not in uuids})
