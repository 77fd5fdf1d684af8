# SPDX-License-Identifier: Apache-2.0
"""The configuration and the conditions in force: immutable values that threads replace, one change at a time."""

import threading
from collections.abc import Mapping

from msgspec.structs import replace

from hamid.core.config.config import Config
from hamid.core.view import Conditions


class CurrentConfig:
    """The configuration in force; a reload replaces its value."""

    def __init__(self, value: Config) -> None:
        self.value = value


class ConditionsInForce:
    """Holds the Conditions of now; thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._now = Conditions()

    @property
    def now(self) -> Conditions:
        """The conditions of this moment; a value that does not change."""
        return self._now

    def set_attached(self, *, attached: bool) -> None:
        """The driver answers, or it is gone and with it everything that was restored."""
        with self._guard:
            self._now = replace(self._now, attached=attached, restored=self._now.restored and attached)

    def set_restored(self) -> None:
        """Every claim has its instances, as far as they can come back."""
        with self._guard:
            self._now = replace(self._now, restored=True)

    def set_problem(self, subject: str, problem: str) -> str:
        """Set a problem of the node, or end it with an empty text; what it was before."""
        with self._guard:
            before = self._now.node.get(subject, "")
            self._now = replace(self._now, node=_changed(self._now.node, subject, problem))
            return before

    def set_sick(self, gpu_uuid: str, problem: str) -> None:
        """Set why nothing new may start on a GPU, or end that with an empty text."""
        with self._guard:
            self._now = replace(self._now, sick=_changed(self._now.sick, gpu_uuid, problem))

    def set_pending(self, gpu_uuid: str, text: str) -> None:
        """Set what a GPU waits for until it is idle, or end that with an empty text."""
        with self._guard:
            self._now = replace(self._now, pending=_changed(self._now.pending, gpu_uuid, text))


def _changed(texts: Mapping[str, str], key: str, text: str) -> Mapping[str, str]:
    kept = {each: value for each, value in texts.items() if each != key}
    return {**kept, key: text} if text else kept
