# SPDX-License-Identifier: Apache-2.0
"""The node as it was last published: one immutable value that every reader takes without a lock."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims.claim import Claim
from hamid.core.claims.device_ids import PluginDevice
from hamid.core.config.config import Config, Mode
from hamid.core.hardware.gpu import Gpu, Load
from hamid.core.hardware.snapshot import Snapshot


class GpuView(Struct, frozen=True, kw_only=True):
    """One GPU as hamid serves it.

    `problem` says why nothing new starts on it, `pending` what waits until it is idle; not `healthy`: what runs there
    suffers too.
    """

    gpu: Gpu
    mode: Mode
    served: bool
    healthy: bool = True
    problem: str = ""
    pending: str = ""
    load: Load = Load()


class View(Struct, frozen=True, kw_only=True):
    """Everything that readers see. `observed_at` is Unix time of the last whole reading, 0 before the first.

    `ready` once the driver answered and what was promised has been restored. `notes` are facts that the daemon adds:
    registration, library, reload.
    """

    snapshot: Snapshot = Snapshot(gpus=())
    gpus: tuple[GpuView, ...] = ()
    claims: tuple[Claim, ...] = ()
    devices: tuple[PluginDevice, ...] = ()
    config: Config = Config()
    ready: bool = False
    problems: tuple[str, ...] = ()
    observed_at: float = 0.0
    notes: Mapping[str, str] = {}

    def with_notes(self, **notes: str) -> "View":
        """The same with facts of the daemon; an empty one is taken out."""
        merged = {key: value for key, value in {**self.notes, **notes}.items() if value}
        return replace(self, notes=merged)
