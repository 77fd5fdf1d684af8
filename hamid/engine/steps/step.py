# SPDX-License-Identifier: Apache-2.0
"""One step, done or undone: journal, act, journal.

Invariant: each step checks its conditions with NVML right before it acts, each driver call runs under the GPU's own
deadline, and an instance in use is never destroyed, even if the plan says so.
"""

from collections.abc import Callable

from hamid.core.claims.claim import InstanceKey, LedgerFacts, OwnInstance, instance_at, users
from hamid.core.claims.journal import Entry, EntryState, Prior, Undo, describe, own_after, seat_of_step, undo_of
from hamid.core.claims.restore import is_promised
from hamid.core.errors import ForeignInstance, InUse, ModePending, NodeError, StalePlan
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import CreateInstance, DestroyInstance, SetMigMode, Step
from hamid.engine.driver.session import DriverSession
from hamid.engine.driver.workers import Worker
from hamid.node.driver import device_nodes, mutations

_MODE_HINT = (
    "end these processes, including monitors such as dcgm, and try again; or pass --keep-pending and reset the GPU"
)


class StepRunner:
    """Acts on one GPU, on its worker's thread; `note` receives further messages.

    What is done is done on behalf of `claim` (an id), which therefore keeps nothing from being taken back or
    destroyed. One that `restores` creates only what is promised to a claim when its step begins and when it ends.
    """

    def __init__(
        self,
        session: DriverSession,
        worker: Worker,
        index: int,
        gpu_uuid: str,
        note: Callable[[str], None],
        *,
        claim: int | None,
        restores: bool,
    ) -> None:
        self._session = session
        self._ledger = session.ledger
        self._worker = worker
        self._index = index
        self._uuid = gpu_uuid
        self._note = note
        self._claim = claim
        self._restores = restores

    def perform(self, run: int, position: int, step: Step, *, keep_pending: bool = False) -> bool:
        """Do a step; False if its mode change stays pending as allowed, so that no step can follow on this GPU."""
        match step:
            case SetMigMode():
                return self._set_mode(run, position, step, keep_pending=keep_pending)
            case CreateInstance():
                self._create(run, position, step)
            case DestroyInstance():
                self._destroy(run, position, step)
        return True

    def take_back(self, entry: Entry) -> bool:
        """Undo a step as far as it went; False if it could not be undone, which is noted."""
        # A claim that ends is no reason to keep the instances created for it.
        facts = self._facts().without(*self._ledger.ending())
        gpu = self._session.read_healthy(self._worker, self._index, facts)
        decision = undo_of(entry, gpu, facts)
        self._undo(decision.undo, entry.step, entry.prior)
        if decision.undo is Undo.KEEP:
            self._note(f"not undone: {describe(entry.step)}: {decision.why}")
        elif decision.undo is not Undo.NOTHING:
            gpu = self._read()
        seat = None if isinstance(entry.step, SetMigMode) else seat_of_step(entry.step)
        own = own_after(entry, decision.undo, gpu)
        # An instance that stays because a claim holds its seat goes with that claim.
        made = own is not None and isinstance(entry.step, CreateInstance) and not entry.prior.existed
        self._ledger.end_step(entry.run, entry.position, EntryState.OVER, seat=seat, own=own, made=made)
        return decision.undo is not Undo.KEEP

    # -- the three steps --

    def _set_mode(self, run: int, position: int, step: SetMigMode, *, keep_pending: bool) -> bool:
        gpu = self._read()
        if gpu.used_instances and not step.enabled:
            raise InUse(
                f"GPU {self._index} has used instances, so MIG mode cannot be switched off", "release them first"
            )
        promised = [x.name for x in self._facts().claims if any(each.gpu_uuid == gpu.uuid for each in x.shares)]
        if promised and step.enabled and not gpu.mig_enabled:
            # A share may have been granted after the mode was decided; a container that has not started is no client.
            raise InUse(
                f"GPU {self._index} has shares of {promised[0]}, so MIG mode cannot be switched on",
                "delete its pod first",
            )
        self._ledger.begin_step(run, position, Prior(mode=gpu.mig_enabled))
        reached = True
        if (gpu.mig_enabled, gpu.mig_pending) != (step.enabled, step.enabled):
            reached = self._ask_mode(gpu, enabled=step.enabled, keep_pending=keep_pending)
        self._ledger.end_step(run, position, EntryState.DONE)
        return reached

    def _ask_mode(self, gpu: Gpu, *, enabled: bool, keep_pending: bool) -> bool:
        activation = self._call("nvmlDeviceSetMigMode", mutations.set_mode, enabled=enabled)
        after = self._read()
        if after.mig_enabled == enabled:
            return True
        if keep_pending:
            self._note(
                f"GPU {self._index}: MIG mode {_word(enabled)} is pending until the GPU is reset or the node reboots"
            )
            return False
        self._call("nvmlDeviceSetMigMode", mutations.set_mode, enabled=gpu.mig_enabled)
        raise ModePending(
            f"nvmlDeviceSetMigMode on GPU {self._index}: MIG mode {_word(enabled)} would stay pending "
            f"(activation status NVML {activation}), so the change was undone; the GPU is used by {_clients(after)}",
            _MODE_HINT,
        )

    def _create(self, run: int, position: int, step: CreateInstance) -> None:
        seat = seat_of_step(step)
        if self._restores and not is_promised(seat, self._ledger.facts(), self._ledger.ending()):
            raise _not_promised(step)
        gpu = self._read()
        there = instance_at(gpu, seat)
        own = self._facts().own_at(seat)
        if there is not None and (own is None or not own.is_at(there) or there.compute_instances > 1):
            raise ForeignInstance(
                f"{describe(step)}: a foreign instance is there ({there.mig_uuid or 'no compute instance'})",
                f"see: hamictl mig list; remove it with: hamictl mig repair --reclaim-idle -i {self._index}",
            )
        generation = self._ledger.begin_step(run, position, Prior(existed=there is not None, own=own))
        if there is None:
            self._create_gpu_instance(seat, step.placement)
        if there is None or there.compute_instances == 0:
            self._complete(gpu, seat)
            own = None
        made = self._made(seat, step)
        kept = own if there is not None else None
        own = kept or _own(seat, made, generation)
        # If the claim starts to end later, its run destroys this instance, on this thread.
        if not self._ledger.end_step(
            run, position, EntryState.DONE, seat=seat, own=own, made=kept is None, promised=self._restores
        ):
            raise _not_promised(step)

    def _destroy(self, run: int, position: int, step: DestroyInstance) -> None:
        seat = seat_of_step(step)
        gpu = self._read()
        there = instance_at(gpu, seat)
        own = self._facts().own_at(seat)
        whole = there is not None and there.compute_instances == 1
        self._ledger.begin_step(run, position, Prior(existed=there is not None, whole=whole, own=own))
        if there is not None:
            self._check_idle(step, seat, self._read())
            self._destroy_instance(seat)
            if instance_at(self._read(), seat) is not None:
                raise NodeError(
                    f"{describe(step)}: NVML reported success, but the instance still exists", "hamictl mig repair"
                )
        self._ledger.end_step(run, position, EntryState.DONE, seat=seat)

    def _check_idle(self, step: DestroyInstance, seat: InstanceKey, gpu: Gpu) -> None:
        """Raises an error if the instance is in use or divided. Called right before it is destroyed."""
        there = instance_at(gpu, seat)
        if there is None:
            raise NodeError(f"{describe(step)}: it has disappeared", "plan again")
        holders = users(there, self._facts(), seat)
        if holders:
            raise InUse(f"{describe(step)}: it is in use by {holders}", "end the processes or release the claim first")
        if there.compute_instances > 1:
            raise InUse(
                f"{describe(step)}: it is divided into several compute instances",
                "destroy them with the tool that created them",
            )

    # -- undo --

    def _undo(self, undo: Undo, step: Step, prior: Prior) -> None:
        if isinstance(step, SetMigMode):
            if undo is Undo.MODE:
                self._restore_mode(enabled=prior.mode)
            return
        seat = seat_of_step(step)
        if undo is Undo.DESTROY:
            self._destroy_instance(seat)
        if undo is Undo.CREATE:
            self._create_gpu_instance(seat, step.placement)
        if undo in {Undo.CREATE, Undo.COMPLETE}:
            self._complete(self._read(), seat)
            self._made(seat, step)

    def _restore_mode(self, *, enabled: bool) -> None:
        self._call("nvmlDeviceSetMigMode", mutations.set_mode, enabled=enabled)
        gpu = self._read()
        if gpu.mig_enabled != enabled:
            # A client appeared in the meantime: request the current mode again, so that no change stays pending.
            self._call("nvmlDeviceSetMigMode", mutations.set_mode, enabled=gpu.mig_enabled)
            self._note(f"GPU {self._index} keeps MIG mode {_word(gpu.mig_enabled)}: it is in use by {_clients(gpu)}")

    # -- calls --

    def _read(self) -> Gpu:
        return self._session.read_healthy(self._worker, self._index, self._facts())

    def _facts(self) -> LedgerFacts:
        return self._ledger.facts().without(self._claim)

    def _call(self, label: str, function: Callable[..., object], *arguments: object, **options: object) -> object:
        return self._worker.call(label, function, self._uuid, self._index, *arguments, **options)

    def _create_gpu_instance(self, seat: InstanceKey, placement: Placement) -> None:
        label = "nvmlDeviceCreateGpuInstanceWithPlacement"
        self._call(label, mutations.create_gpu_instance, seat.profile_id, placement)

    def _complete(self, gpu: Gpu, seat: InstanceKey) -> None:
        slices = next(each.compute_slices for each in gpu.profiles if each.profile_id == seat.profile_id)
        label = "nvmlGpuInstanceCreateComputeInstance"
        self._call(label, mutations.create_compute_instance, seat.profile_id, seat.start, slices)

    def _destroy_instance(self, seat: InstanceKey) -> None:
        self._call("nvmlComputeInstanceDestroy", mutations.destroy_compute_instance, seat.profile_id, seat.start)
        self._call("nvmlGpuInstanceDestroy", mutations.destroy_gpu_instance, seat.profile_id, seat.start)

    def _made(self, seat: InstanceKey, step: Step) -> Instance:
        """The instance that is now on the seat, with its device nodes."""
        gpu = self._read()
        made = instance_at(gpu, seat)
        if made is None or made.compute_instances != 1:
            raise NodeError(
                f"{describe(step)}: NVML reported success, but the instance does not exist", "hamictl mig repair"
            )
        problem = device_nodes.ensure(self._session.paths, gpu.minor, made.gi_id, made.ci_id)
        if problem:
            self._note(problem)
        return made


def _not_promised(step: CreateInstance) -> StalePlan:
    return StalePlan(f"{describe(step)}: no claim holds it any more, so it is not recreated")


def _own(seat: InstanceKey, instance: Instance, generation: int) -> OwnInstance:
    return OwnInstance(
        seat=seat,
        profile=instance.profile,
        size=instance.placement.size,
        generation=generation,
        mig_uuid=instance.mig_uuid,
    )


def _word(enabled: bool) -> str:  # noqa: FBT001  # a mode is a flag
    return "on" if enabled else "off"


def _clients(gpu: Gpu) -> str:
    holders = [*gpu.clients, *(holder for each in gpu.instances for holder in each.holders)]
    return ", ".join(str(holder) for holder in holders) or "an unknown process"
