# SPDX-License-Identifier: Apache-2.0
"""From what was made to what the container receives."""

import os
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.allocate import Choice
from hamid.core.claims import Claim, ClaimedSeat, ClaimedShare, PodOwner, Seat, instance_at
from hamid.core.config import Mode
from hamid.core.errors import InUse, NodeError
from hamid.core.gpu import Gpu
from hamid.core.grant import DeviceNode, Grant
from hamid.core.identity import Identified
from hamid.core.mig_grant import mig_grant
from hamid.core.share_grant import HostPaths, share_grant, wants_control
from hamid.engine import folders
from hamid.engine.library_care import container_library
from hamid.engine.live import Live
from hamid.engine.workers import Worker
from hamid.node import devicenodes

_TOKEN_BYTES = 16


class Made(Struct, frozen=True, kw_only=True):
    """What the claim's instances are called now, and the device nodes of all that it holds."""

    uuids: dict[Seat, str | None]
    nodes: tuple[DeviceNode, ...]


class Granting:
    """Looks at what was made and renders grants."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def check_library(self) -> None:
        """Raises LibraryMissing when no container could get libvgpu."""
        container_library(folders.library_dir(self._live.paths, self._live.config))

    def look(self, choice: Choice, claim: str, until: float | None = None, *, idle: bool = True) -> Made:
        """Every instance of a choice as it is now, on its GPU's worker. Raises NodeError, InUse or DriverHung.

        With `idle` nobody may use them yet.
        """
        by_gpu: dict[int, list[ClaimedSeat]] = {}
        for each in choice.seats:
            index = self._live.session.index_of(each.seat.gpu_uuid)
            if index is None:
                raise NodeError(f"the GPU {each.seat.gpu_uuid} does not answer", "hamictl gpu list")
            by_gpu.setdefault(index, []).append(each)
        tasks = {index: self._looker(index, seats, claim, idle=idle) for index, seats in by_gpu.items()}
        found: dict[Seat, tuple[str, tuple[DeviceNode, ...]]] = {}
        for outcome in self._live.session.workers.run(tasks, until=until).values():
            found |= outcome.get()
        nodes = [node for each in choice.seats for node in found[each.seat][1]]
        return Made(
            uuids={each.seat: found[each.seat][0] for each in choice.seats},
            nodes=(*nodes, *self.nodes_of_shares(choice.shares)),
        )

    def _looker(
        self, index: int, seats: Sequence[ClaimedSeat], claim: str, *, idle: bool
    ) -> Callable[[Worker], dict[Seat, tuple[str, tuple[DeviceNode, ...]]]]:
        live = self._live

        def task(worker: Worker) -> dict[Seat, tuple[str, tuple[DeviceNode, ...]]]:
            gpu = live.session.read_healthy(worker, index, live.ledger.facts().without(claim))
            common = self._nodes_of(gpu)
            found = {}
            for each in seats:
                there = instance_at(gpu, each.seat)
                name = f"{each.profile}@{each.seat.start} on GPU {index}"
                if there is None or there.compute_instances != 1 or there.mig_uuid is None:
                    raise NodeError(f"{name} is not there", "see hamictl mig list, and who else changes this GPU")
                if there.holders and idle:
                    raise InUse(f"{name} is used by {', '.join(map(str, there.holders))} already", "try again")
                problem = devicenodes.ensure(live.paths, gpu.minor, there.gi_id, there.ci_id)
                if problem:
                    live.log.warning("device_nodes_missing", claim=claim, gpu=gpu.uuid, text=problem)
                own = devicenodes.of_instance(live.paths, gpu.minor, there.gi_id, there.ci_id)
                found[each.seat] = (there.mig_uuid, (*common, *own))
            return found

        return task

    def nodes_of_shares(self, shares: Iterable[ClaimedShare]) -> Iterable[DeviceNode]:
        """The device nodes of the GPUs of these shares; those that are missing are made."""
        by_uuid = {gpu.uuid: gpu for gpu in self._live.gpus()}
        for each in shares:
            yield from self._nodes_of(by_uuid[each.gpu_uuid])

    def _nodes_of(self, gpu: Gpu) -> tuple[DeviceNode, ...]:
        problem = devicenodes.ensure_gpu(self._live.paths, gpu.minor)
        if problem:
            self._live.log.warning("device_nodes_missing", gpu=gpu.uuid, text=problem)
        return devicenodes.of_gpu(self._live.paths, gpu.minor)

    def render(self, claim: str, choice: Choice, identified: Identified, owner: PodOwner, made: Made) -> Grant:
        """The grant, which for shares names the container's directory. Raises LibraryMissing."""
        live = self._live
        nodes = made.nodes if live.config.pass_device_specs else ()
        if choice.mode is Mode.MIG:
            uuids = [made.uuids[each.seat] or "" for each in choice.seats]
            return mig_grant(claim, uuids, nodes, strategy=live.config.device_list_strategy)
        env = identified.container.env if identified.container is not None else {}
        return share_grant(
            claim,
            choice.shares,
            nodes,
            config=live.config,
            asked=identified.asked,
            host=self._host(owner),
            token=os.urandom(_TOKEN_BYTES).hex(),
            controlled=wants_control(env.get("CUDA_DISABLE_CONTROL", "")),
        )

    def _host(self, owner: PodOwner) -> HostPaths:
        live = self._live
        below = folders.library_dir(live.paths, live.config)
        licensed = os.path.exists(f"{below}/license")  # noqa: PTH110  # as everywhere in this room
        return HostPaths(
            library=container_library(below),
            preload=folders.preload_file(live.paths, live.config),
            folder=folders.path_of(live.paths, live.config, owner),
            locks=live.paths.under("/tmp/vgpulock"),  # noqa: S108  # HAMi-core's place
            license=f"{below}/license" if licensed else "",
            validator=f"{below}/vgpuvalidator" if licensed else "",
        )

    def hand_on(self, claim: Claim, identified: Identified, owner: PodOwner) -> Grant | None:
        """The same instances or shares for the container that comes after an init container of its pod.

        None when the claim carries no grant.
        """
        live = self._live
        before = live.ledger.granted(claim.name)
        if before is None:
            return None
        uuids = {each.seat: each.mig_uuid for each in claim.seats}
        grant = before
        if claim.shares and claim.owner is not None:
            owner = replace(owner, earlier=claim.owner.folders)
            choice = Choice(mode=Mode.HAMI_CORE, shares=claim.shares)
            made = Made(uuids={}, nodes=tuple(self.nodes_of_shares(claim.shares)))
            grant = self.render(claim.name, choice, identified, owner, made)
        name = live.ledger.regrant(claim.name, owner, grant, uuids)
        if claim.shares:
            # The claim knows of it first, so that it goes with the claim; a start makes it where this could not.
            folders.make(live.paths, live.config, owner)
        return replace(grant, claim=name)
