# SPDX-License-Identifier: Apache-2.0
"""Renders created instances and shares as the grant that a container receives."""

import os
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.claims.allocate import Choice
from hamid.core.claims.claim import Claim, ClaimedSeat, ClaimedShare, InstanceKey, PodOwner, instance_at
from hamid.core.claims.grant import DeviceNode, Grant
from hamid.core.claims.mig_grant import mig_grant
from hamid.core.claims.share_grant import HostPaths, share_grant, wants_control
from hamid.core.claims.which_container import Identified
from hamid.core.config.config import Config, Mode
from hamid.core.errors import InUse, NodeError
from hamid.core.hardware.gpu import Gpu
from hamid.core.planner.eligibility import is_served
from hamid.core.planner.plan import CreateInstance
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.workers import Worker
from hamid.engine.library.state import container_library
from hamid.engine.pods import share_folders
from hamid.node.driver import device_nodes
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths
from hamid.node.ports import Logger

_TOKEN_BYTES = 16


# The UUID and the device nodes of each seat's instance.
Found = dict[InstanceKey, tuple[str, tuple[DeviceNode, ...]]]


class Made(Struct, frozen=True, kw_only=True):
    """The UUIDs of a claim's instances, and the device nodes of everything that it holds."""

    uuids: dict[InstanceKey, str | None]
    nodes: tuple[DeviceNode, ...]


class Granting:
    """Reads created instances and renders grants."""

    def __init__(
        self,
        *,
        paths: Paths,
        ledger: Ledger,
        session: DriverSession,
        readings: Readings,
        log: Logger,
    ) -> None:
        self._paths = paths
        self._ledger = ledger
        self._session = session
        self._readings = readings
        self._log = log

    def check_library(self, config: Config) -> None:
        """Raises LibraryMissing if no libvgpu is installed for containers."""
        container_library(share_folders.library_dir(self._paths, config))

    def look(self, choice: Choice, claim: Claim, until: float | None = None, *, idle: bool = True) -> Made:
        """The current state of a choice's instances, read on each GPU's worker.

        Raises NodeError, DriverHung or, with `idle`, InUse for an instance that is in use already.
        """
        tasks = {
            index: self._looker(index, seats, claim, idle=idle) for index, seats in self._by_gpu(choice.seats).items()
        }
        outcomes = self._session.workers.run(tasks, until=until)
        return self._made(choice, [outcome.get() for outcome in outcomes.values()])

    def gather(self, choice: Choice, claim: Claim, until: float) -> Made:
        """As `look` with `idle`, of instances that lie where this process has just acted for the claim.

        A GPU on which it made something was read after that; only those that it did not touch are read now.
        """
        acted = {step.gpu_uuid for step in choice.steps if isinstance(step, CreateInstance)}
        known: list[Found] = []
        left: list[ClaimedSeat] = []
        for index, seats in self._by_gpu(choice.seats).items():
            gpu = self._readings.gpu(index)
            if gpu is not None and gpu.uuid in acted and is_served(gpu):
                known.append(self._found(index, gpu, seats, claim, idle=True))
            else:
                left += seats
        tasks = {index: self._looker(index, seats, claim, idle=True) for index, seats in self._by_gpu(left).items()}
        known += [each.get() for each in self._session.workers.run(tasks, until=until).values()]
        return self._made(choice, known)

    def refresh(self, claim: Claim, until: float) -> None:
        """Read a claim's GPUs now, because the last reading may be seconds old. Raises the first error."""
        indices = [self._session.index_of(uuid) for uuid in claim.gpu_uuids]
        tasks = {index: self._session.reader(index) for index in indices if index is not None}
        for outcome in self._session.workers.run(tasks, until=until).values():
            outcome.get()

    def _by_gpu(self, seats: Iterable[ClaimedSeat]) -> dict[int, list[ClaimedSeat]]:
        by_gpu: dict[int, list[ClaimedSeat]] = {}
        for each in seats:
            index = self._session.index_of(each.seat.gpu_uuid)
            if index is None:
                raise NodeError(f"the GPU {each.seat.gpu_uuid} does not answer", "hamictl gpu list")
            by_gpu.setdefault(index, []).append(each)
        return by_gpu

    def _made(self, choice: Choice, found: Iterable[Found]) -> Made:
        by_seat = {seat: each for on_gpu in found for seat, each in on_gpu.items()}
        nodes = [node for each in choice.seats for node in by_seat[each.seat][1]]
        return Made(
            uuids={each.seat: by_seat[each.seat][0] for each in choice.seats},
            nodes=(*nodes, *self.nodes_of_shares(choice.shares)),
        )

    def _looker(
        self, index: int, seats: Sequence[ClaimedSeat], claim: Claim, *, idle: bool
    ) -> Callable[[Worker], Found]:
        def task(worker: Worker) -> Found:
            gpu = self._session.read_healthy(worker, index, self._ledger.facts().without(claim.id))
            return self._found(index, gpu, seats, claim, idle=idle)

        return task

    def _found(self, index: int, gpu: Gpu, seats: Sequence[ClaimedSeat], claim: Claim, *, idle: bool) -> Found:
        common = self._nodes_of(gpu)
        found = {}
        for each in seats:
            there = instance_at(gpu, each.seat)
            name = f"{each.profile}@{each.seat.start} on GPU {index}"
            if there is None or there.compute_instances != 1 or there.mig_uuid is None:
                raise NodeError(
                    f"{name} does not exist", "see: hamictl mig list; check whether another program changes this GPU"
                )
            if there.holders and idle:
                raise InUse(f"{name} is already in use by {', '.join(map(str, there.holders))}", "try again")
            own = device_nodes.of_instance(self._paths, gpu.minor, there.gi_id, there.ci_id)
            if own.problem:
                self._log.warning("device_nodes_missing", claim=claim.name, gpu=gpu.uuid, text=own.problem)
            found[each.seat] = (there.mig_uuid, (*common, *own.nodes))
        return found

    def nodes_of_shares(self, shares: Iterable[ClaimedShare]) -> Iterable[DeviceNode]:
        """The device nodes of the GPUs of these shares; missing ones are created."""
        by_uuid = {gpu.uuid: gpu for gpu in self._readings.gpus()}
        for each in shares:
            yield from self._nodes_of(by_uuid[each.gpu_uuid])

    def _nodes_of(self, gpu: Gpu) -> tuple[DeviceNode, ...]:
        problem = device_nodes.ensure_gpu(self._paths, gpu.minor)
        if problem:
            self._log.warning("device_nodes_missing", gpu=gpu.uuid, text=problem)
        return device_nodes.of_gpu(self._paths, gpu.minor)

    def render(
        self, claim: int, choice: Choice, identified: Identified, owner: PodOwner, made: Made, *, config: Config
    ) -> Grant:
        """The grant; with shares it includes the container's directory. Raises LibraryMissing."""
        nodes = made.nodes if config.pass_device_specs else ()
        if choice.mode is Mode.MIG:
            uuids = [made.uuids[each.seat] or "" for each in choice.seats]
            return mig_grant(claim, uuids, nodes, strategy=config.device_list_strategy)
        env = identified.container.env if identified.container is not None else {}
        return share_grant(
            claim,
            choice.shares,
            nodes,
            config=config,
            request=identified.request,
            host=self._host(owner, config),
            token=os.urandom(_TOKEN_BYTES).hex(),
            controlled=wants_control(env.get("CUDA_DISABLE_CONTROL", "")),
        )

    def _host(self, owner: PodOwner, config: Config) -> HostPaths:
        below = share_folders.library_dir(self._paths, config)
        licensed = os.path.exists(f"{below}/license")  # as everywhere in this room
        return HostPaths(
            library=container_library(below),
            preload=share_folders.preload_file(self._paths, config),
            folder=share_folders.path_of(self._paths, config, owner),
            locks=self._paths.under("/tmp/vgpulock"),  # noqa: S108  # HAMi-core's place
            license=f"{below}/license" if licensed else "",
            validator=f"{below}/vgpuvalidator" if licensed else "",
        )

    def make_folder(self, owner: PodOwner, config: Config) -> None:
        """Create an empty directory for a container with shares. Raises HamiError."""
        share_folders.make(self._paths, config, owner)

    def ensure_folder(self, owner: PodOwner, config: Config) -> bool:
        """Make sure that the container's directories exist; True if one was recreated. Raises HamiError."""
        return share_folders.ensure(self._paths, config, owner)

    def remove_folder(self, claim: Claim, config: Config) -> None:
        """Remove the directory of a claim. Raises HamiError."""
        share_folders.remove(self._paths, config, claim)

    def hand_on(self, claim: Claim, identified: Identified, owner: PodOwner, config: Config) -> Grant | None:
        """Grant an init container's instances or shares to the next container of its pod.

        None when the claim carries no grant.
        """
        before = self._ledger.granted(claim.id)
        if before is None:
            return None
        uuids = {each.seat: each.mig_uuid for each in claim.seats}
        grant = before
        if claim.shares and claim.owner is not None:
            owner = replace(owner, earlier=claim.owner.folders)
            choice = Choice(mode=Mode.HAMI_CORE, shares=claim.shares)
            made = Made(uuids={}, nodes=tuple(self.nodes_of_shares(claim.shares)))
            grant = self.render(claim.id, choice, identified, owner, made, config=config)
        self._ledger.regrant(claim.id, owner, grant, uuids)
        if claim.shares:
            # The claim records the folder first, so it is removed with it; if this fails, a container start creates it.
            share_folders.make(self._paths, config, owner)
        return grant
