# SPDX-License-Identifier: Apache-2.0
"""The last published state of the node: one immutable value that readers use without a lock."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims.claim import Claim, LedgerFacts
from hamid.core.claims.device_ids import PluginDevice, advertise
from hamid.core.config.config import Config, Mode
from hamid.core.hardware.gpu import Gpu, Load
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.eligibility import is_served


class GpuView(Struct, frozen=True, kw_only=True):
    """One GPU as hamid serves it.

    `problem` says why nothing new starts on it, `pending` which change waits until it is idle. If not `healthy`,
    running containers are affected too.
    """

    gpu: Gpu
    mode: Mode
    served: bool
    healthy: bool = True
    problem: str = ""
    pending: str = ""
    load: Load = Load()


class View(Struct, frozen=True, kw_only=True):
    """Everything that readers see. `observed_at` is the Unix time of the last complete observation, 0 before the first.

    `ready` once the driver answered and every claim is restored. `notes` are facts that the daemon adds:
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

    def claim_name(self, claim_id: int) -> str:
        """The name of the claim with this id, or the id itself if there is no such claim."""
        return next((claim.name for claim in self.claims if claim.id == claim_id), str(claim_id))

    def with_notes(self, **notes: str) -> "View":
        """The view with these notes of the daemon; an empty note removes the entry."""
        merged = {key: value for key, value in {**self.notes, **notes}.items() if value}
        return replace(self, notes=merged)


class Observation(Struct, frozen=True, kw_only=True):
    """The last observation: the GPUs with the ledger's facts merged in, and further readings by GPU uuid.

    `observed_at` is the Unix time of the last complete observation.
    """

    gpus: tuple[Gpu, ...]
    loads: Mapping[str, Load] = {}
    numa_nodes: Mapping[str, int] = {}
    simulated: bool = False
    driver_version: str | None = None
    nvml_version: str | None = None
    observed_at: float = 0.0


class Conditions(Struct, frozen=True, kw_only=True):
    """What prevents the node or a GPU from serving.

    `attached` once the driver answers, `restored` once every claim has its instances back. `node` holds problems of
    the node by subject; `sick` says why nothing new may start on a GPU, `pending` which mode it waits for, by uuid.
    """

    attached: bool = False
    restored: bool = False
    node: Mapping[str, str] = {}
    sick: Mapping[str, str] = {}
    pending: Mapping[str, str] = {}


def build(
    observed: Observation,
    facts: LedgerFacts,
    config: Config,
    conditions: Conditions,
    *,
    held_ids: Iterable[str] = (),
    notes: Mapping[str, str] = {},
) -> View:
    """The View of one moment. `held_ids` are device ids that containers hold according to kubelet."""
    gpus = tuple(_gpu_view(gpu, config, conditions, observed.loads.get(gpu.uuid, Load())) for gpu in observed.gpus)
    return View(
        snapshot=Snapshot(
            gpus=observed.gpus,
            simulated=observed.simulated,
            driver_version=observed.driver_version,
            nvml_version=observed.nvml_version,
            warnings=facts.warnings,
        ),
        gpus=gpus,
        claims=facts.claims,
        devices=_devices(gpus, facts, config, held_ids, observed.numa_nodes),
        config=config,
        ready=conditions.attached and conditions.restored,
        problems=tuple(conditions.node.values()),
        observed_at=observed.observed_at,
        notes=notes,
    )


def _gpu_view(gpu: Gpu, config: Config, conditions: Conditions, load: Load) -> GpuView:
    mode = config.mode_of(gpu)
    lost = "" if is_served(gpu) else f"the driver does not serve it: {gpu.note}"
    unattached = "" if conditions.attached else conditions.node.get("driver", "")
    sick = lost or conditions.sick.get(gpu.uuid, "") or unattached
    pending = conditions.pending.get(gpu.uuid, "")
    closed = ""
    if (mode is Mode.MIG) != gpu.mig_enabled:
        closed = pending or f"MIG mode is {'on' if gpu.mig_enabled else 'off'}, but the configured mode is {mode}"
    return GpuView(
        gpu=gpu,
        mode=mode,
        served=config.serves(gpu),
        healthy=not sick,
        problem=sick or closed,
        pending=pending,
        load=load,
    )


def _devices(
    views: Iterable[GpuView],
    facts: LedgerFacts,
    config: Config,
    held_ids: Iterable[str],
    numa_nodes: Mapping[str, int],
) -> tuple[PluginDevice, ...]:
    owned = {each for claim in facts.claims if claim.owner is not None for each in claim.owner.device_ids}
    known = [view for view in views if view.gpu.uuid]
    return advertise(
        [view.gpu.uuid for view in known if view.served],
        split_count=config.split_count,
        unhealthy={view.gpu.uuid for view in known if not view.healthy},
        closed={view.gpu.uuid for view in known if view.problem},
        held=owned.union(held_ids),
        known={view.gpu.uuid for view in known},
        numa_nodes=numa_nodes if config.numa_topology else None,
    )
