# SPDX-License-Identifier: Apache-2.0
"""The step journal as values, and how to undo a step given what NVML shows now.

Invariant: a journal entry records the state before the step; the current state always comes from NVML, never from the
entry. So the decision is right no matter when the process died, and deciding twice does no harm.
"""

from enum import StrEnum

from msgspec import Struct

from hamid.core.claims.claim import InstanceKey, LedgerFacts, OwnInstance, instance_at, users
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.planner.eligibility import clients_running
from hamid.core.planner.plan import CreateInstance, DestroyInstance, SetMigMode, Step


class Goal(StrEnum):
    """What happens to a run whose process died: `all` is undone completely, `each` is completed."""

    ALL = "all"
    EACH = "each"


class EntryState(StrEnum):
    """How far a step got."""

    BEGIN = "begin"
    DONE = "done"
    OVER = "over"


class Prior(Struct, frozen=True, kw_only=True):
    """What was there before a step: the MIG mode, or the instance on its seat (`whole` with its compute instance)."""

    mode: bool = False
    existed: bool = False
    whole: bool = False
    own: OwnInstance | None = None


class Entry(Struct, frozen=True, kw_only=True):
    """A step that was begun. `generation` is assigned to an instance that it creates."""

    run: int
    position: int
    step: Step
    prior: Prior
    generation: int
    state: EntryState
    mig_uuid: str | None = None


class Run(Struct, frozen=True, kw_only=True):
    """One plan in progress: all its steps, and those that were begun, in order.

    `claim` is the id of the claim that a run of goal `all` makes, and of the one that a run of goal `each` ends.
    `operator_name` is the operator's name for the claim that the run makes.
    """

    run: int
    boot_id: str
    goal: Goal
    claim: int | None
    operator_name: str
    claim_seats: tuple[InstanceKey, ...]
    pid: int
    command: str
    steps: tuple[Step, ...]
    entries: tuple[Entry, ...] = ()

    @property
    def complete(self) -> bool:
        """True when every step is done and only the end of the run was not recorded."""
        return len(self.entries) == len(self.steps) and all(each.state is EntryState.DONE for each in self.entries)


class Undo(StrEnum):
    """How to undo a step. COMPLETE creates the missing compute instance; KEEP changes nothing."""

    NOTHING = "nothing"
    MODE = "mode"
    CREATE = "create"
    COMPLETE = "complete"
    DESTROY = "destroy"
    KEEP = "keep"


class Decision(Struct, frozen=True):
    """What to do, and for KEEP the reason."""

    undo: Undo
    why: str = ""


_NOTHING = Decision(Undo.NOTHING)


def seat_of_step(step: CreateInstance | DestroyInstance) -> InstanceKey:
    """The seat that a step is about."""
    return InstanceKey(step.gpu_uuid, step.profile_id, step.placement.start)


def describe(step: Step) -> str:
    """A step as text."""
    match step:
        case SetMigMode():
            return f"MIG mode {'on' if step.enabled else 'off'} on GPU {step.gpu_index}"
        case CreateInstance():
            return f"create {step.profile}@{step.placement.start} on GPU {step.gpu_index}"
        case DestroyInstance():  # pragma: no branch: mypy knows that no kind is left
            return f"destroy {step.profile}@{step.placement.start} on GPU {step.gpu_index}"


def undo_of(entry: Entry, gpu: Gpu, facts: LedgerFacts) -> Decision:
    """How to undo an entry on the GPU as it is now; this never destroys a used instance."""
    match entry.step:
        case SetMigMode():
            return _undo_mode(entry.prior.mode, gpu)
        case CreateInstance():
            return _undo_create(entry, entry.step, gpu, facts)
        case DestroyInstance():  # pragma: no branch: mypy knows that no kind is left
            return _undo_destroy(entry, entry.step, gpu)


def _undo_mode(before: bool, gpu: Gpu) -> Decision:  # noqa: FBT001  # a mode is a flag
    if (gpu.mig_enabled, gpu.mig_pending) == (before, before):
        return _NOTHING
    if gpu.mig_enabled == before:
        return Decision(Undo.MODE)
    if gpu.instances:
        return Decision(Undo.KEEP, "the GPU has instances")
    running = clients_running(gpu)
    if running is not None:
        return Decision(Undo.KEEP, f"it is in use by {', '.join(str(client) for client in running.clients)}")
    return Decision(Undo.MODE)


def _undo_create(entry: Entry, step: CreateInstance, gpu: Gpu, facts: LedgerFacts) -> Decision:
    seat = seat_of_step(step)
    instance = instance_at(gpu, seat)
    if entry.prior.existed or instance is None:
        return _NOTHING
    holders = users(instance, facts, seat)
    if holders:
        return Decision(Undo.KEEP, f"it is in use by {holders}")
    if not _is_ours(entry, instance):
        return Decision(Undo.KEEP, "another program changed it")
    return Decision(Undo.DESTROY)


def _is_ours(entry: Entry, instance: Instance) -> bool:
    same = entry.mig_uuid is None or instance.mig_uuid in {None, entry.mig_uuid}
    return same and instance.compute_instances <= 1


def _undo_destroy(entry: Entry, step: DestroyInstance, gpu: Gpu) -> Decision:
    if not entry.prior.existed:
        return _NOTHING
    instance = instance_at(gpu, seat_of_step(step))
    if instance is not None:
        half = entry.prior.whole and instance.compute_instances == 0
        return Decision(Undo.COMPLETE) if half else _NOTHING
    if not entry.prior.whole:
        return Decision(Undo.KEEP, "it had no compute instance")
    if not gpu.mig_enabled:
        return Decision(Undo.KEEP, "MIG mode is off")
    if any(each.placement.mask & step.placement.mask for each in gpu.instances):
        return Decision(Undo.KEEP, "its placement is occupied")
    return Decision(Undo.CREATE)


def own_after(entry: Entry, undo: Undo, gpu: Gpu) -> OwnInstance | None:
    """Our instance on the entry's seat after the undo; None if none of ours is left."""
    if isinstance(entry.step, SetMigMode):
        return None
    seat = seat_of_step(entry.step)
    instance = instance_at(gpu, seat)
    if instance is None or instance.compute_instances > 1:
        return None
    before = entry.prior.own
    if isinstance(entry.step, CreateInstance):
        if entry.prior.existed:
            return before if before is None or before.is_at(instance) else _own(seat, instance, entry.generation)
        return _own(seat, instance, entry.generation) if _is_ours(entry, instance) else None
    if undo is Undo.NOTHING and entry.state is EntryState.BEGIN:
        # Never destroyed, or created again by an undo that died before it recorded that.
        return before if before is None or before.is_at(instance) else _own(seat, instance, entry.generation)
    return _own(seat, instance, entry.generation)


def _own(seat: InstanceKey, instance: Instance, generation: int) -> OwnInstance:
    return OwnInstance(
        seat=seat,
        profile=instance.profile,
        size=instance.placement.size,
        generation=generation,
        mig_uuid=instance.mig_uuid,
    )


def newly_made(run: Run) -> frozenset[InstanceKey]:
    """The seats on which this run put an instance that was not there before."""
    return frozenset(
        seat_of_step(entry.step)
        for entry in run.entries
        if isinstance(entry.step, CreateInstance) and not entry.prior.existed
    )
