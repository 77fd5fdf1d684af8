# SPDX-License-Identifier: Apache-2.0
"""The driver's events about GPUs that fail (NVML manual, "Event Handling Methods")."""

from collections.abc import Iterable
from typing import Final

from hamid.core.errors import NvmlFailed
from hamid.core.hardware.health import EventKind, HealthEvent
from hamid.node.driver import calls

# nvml.h: nvmlEventTypeDoubleBitEccError, nvmlEventTypeXidCriticalError.
_DOUBLE_BIT: Final = 0x2
_XID: Final = 0x8
_TIMEOUT: Final = 10
_LOST: Final = 15


class HealthWatch:
    """Listens to these GPUs by index; raises as every driver call does. A GPU without events is left out."""

    def __init__(self, indices: Iterable[int]) -> None:
        self._set = calls.call("nvmlEventSetCreate")
        self.silent: tuple[int, ...] = tuple(index for index in indices if not self._listen(index))

    def _listen(self, index: int) -> bool:
        device = calls.call("nvmlDeviceGetHandleByIndex_v2", index)
        supported = calls.optional("nvmlDeviceGetSupportedEventTypes", device) or 0
        wanted = supported & (_DOUBLE_BIT | _XID)
        if wanted:
            calls.call("nvmlDeviceRegisterEvents", device, wanted, self._set, gpu=f"GPU {index}")
        return bool(wanted)

    def wait(self, milliseconds: int) -> HealthEvent | None:
        """The next event, or None after that time."""
        try:
            event = calls.call("nvmlEventSetWait_v2", self._set, milliseconds)
        except NvmlFailed as error:
            if error.code == _TIMEOUT:
                return None
            raise
        kind = EventKind.XID if event.eventType == _XID else EventKind.DOUBLE_BIT_ECC
        return HealthEvent(gpu_uuid=_uuid(event), kind=kind, code=int(event.eventData))

    def close(self) -> None:
        """Stop listening."""
        calls.call("nvmlEventSetFree", self._set)


def _uuid(event: calls.Answer) -> str:
    """The GPU of an event; a lost GPU has no name, and the event then means every GPU."""
    try:
        return calls.text(calls.call("nvmlDeviceGetUUID", event.device))
    except NvmlFailed as error:
        if error.code == _LOST:
            return ""
        raise
