# SPDX-License-Identifier: Apache-2.0
"""Plans the smallest change from a snapshot to a target layout: fewest instances destroyed, then fewest created.

Used instances are never touched. If one blocks the target, its GPU gets no step, and the answer says which part of
the target can be reached now. Idle instances that are not in the target are destroyed. Per GPU the order of steps
keeps every intermediate state legal: mode on, destroy, create, mode off.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hamid.core.errors import UsageError
from hamid.core.hardware.board import Board, board_of
from hamid.core.hardware.geometry import LayoutItem, Seat
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.eligibility import awaits_reset, clients_running, no_mig, not_served
from hamid.core.planner.offer import seats_of
from hamid.core.planner.plan import (
    Action,
    DestroyInstance,
    PlannedInstance,
    Step,
    create,
    destroy,
    planned,
    planned_new,
    switch_mode,
)
from hamid.core.planner.reasons import AwaitsReset, NotMigCapable, NotServed
from hamid.core.relayout.search import arrange, hindrance, reachable, take
from hamid.core.relayout.target import GpuTarget, Wanted, read_layout

__all__ = ["Blocked", "Change", "GpuChange", "GpuTarget", "differs", "plan_change"]


class Blocked(Struct, frozen=True, kw_only=True):
    """An instance that blocks a GPU's target and may not be changed; `instance.holders` are its users."""

    instance: Instance
    why: str


class GpuChange(Struct, frozen=True, kw_only=True):
    """The change of one GPU. `axis` is the length of its memory-slice axis, `mode` the new MIG mode if it changes.

    `instances` are created, kept or destroyed, by start; blocked ones are in `blocked` alone. A GPU that is blocked
    or has a `problem` (why it cannot be changed at all) gets no step. `reachable` is the part of the
    target that fits now beside everything that may not be changed, with starts; all of it if nothing blocks.
    """

    gpu: Gpu
    axis: int
    mode: bool | None = None
    instances: tuple[PlannedInstance, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    reachable: tuple[LayoutItem, ...] = ()
    problem: str = ""
    steps: tuple[Step, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """The change that reaches every target: GPUs by index, steps in order, and the snapshot's fingerprint."""

    gpus: tuple[GpuChange, ...]
    steps: tuple[Step, ...]
    fingerprint: str
    simulated: bool
    warnings: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        """True when a GPU cannot reach its target now."""
        return any(gpu.blocked or gpu.problem for gpu in self.gpus)

    @property
    def empty(self) -> bool:
        """True when there is nothing to do, or nothing that may be done."""
        return not self.steps

    @property
    def created(self) -> int:
        """The number of instances to create."""
        return self._count(Action.CREATE)

    @property
    def destroyed(self) -> int:
        """The number of instances to destroy."""
        return self._count(Action.DESTROY)

    @property
    def kept(self) -> int:
        """The number of instances that stay, not counting blocking ones."""
        return self._count(Action.KEEP)

    def _count(self, action: Action) -> int:
        return sum(instance.action is action for gpu in self.gpus for instance in gpu.instances)


def plan_change(snapshot: Snapshot, targets: Sequence[GpuTarget]) -> Change:
    """The smallest change that brings each GPU to its target; a pure function, equal inputs give equal changes.

    Raises UsageError for what no board can hold, and for targets that contradict themselves or name no GPU.
    """
    gpus = tuple(_plan_gpu(gpu, target) for gpu, target in _pair(snapshot, targets))
    return Change(
        gpus=gpus,
        steps=tuple(step for gpu in gpus for step in gpu.steps),
        fingerprint=snapshot.fingerprint(),
        simulated=snapshot.simulated,
        warnings=tuple(warning for gpu in gpus for warning in _warnings(gpu)),
    )


def differs(change: Change) -> bool:
    """True when the node is not what the targets say, whether or not that can be changed now."""
    return bool(change.steps) or change.blocked


def _pair(snapshot: Snapshot, targets: Sequence[GpuTarget]) -> list[tuple[Gpu, GpuTarget]]:
    known = {gpu.index: gpu for gpu in snapshot.gpus}
    found: dict[int, GpuTarget] = {}
    for target in targets:
        if target.gpu_index not in known:
            indices = ", ".join(str(index) for index in known) or "none"
            raise UsageError(f"this node has no GPU {target.gpu_index}", f"GPUs here: {indices}")
        if target.gpu_index in found:
            raise UsageError(f"GPU {target.gpu_index} has two targets", "give one target per GPU")
        if target.mig_enabled is False and target.layout:
            raise UsageError(
                f"GPU {target.gpu_index} cannot have instances with MIG mode off",
                "remove the layout, or leave MIG mode on",
            )
        found[target.gpu_index] = target
    return [(known[index], found[index]) for index in sorted(found)]


def _plan_gpu(gpu: Gpu, target: GpuTarget) -> GpuChange:
    # The code below takes the first of equals, so the order must not depend on the driver.
    gpu = replace(gpu, instances=tuple(sorted(gpu.instances, key=lambda each: (each.placement, each.profile_id))))
    board = board_of(gpu.profiles)
    layout = () if target.mig_enabled is False else target.layout
    # Report an impossible layout first: waiting for the GPU would not help. A lost GPU lists no profiles.
    wanted = None if layout is None or (layout and not gpu.profiles) else read_layout(gpu, board, layout)
    problem = _problem(gpu, target)
    if problem:
        kept = tuple(planned(instance, Action.KEEP) for instance in gpu.instances)
        return GpuChange(gpu=gpu, axis=board.axis, instances=kept, problem=problem)
    mode = _new_mode(gpu, target)
    if wanted is None:
        return _settle(gpu, board, seats_of(gpu, gpu.instances), gpu.instances, mode=mode)
    return _plan_layout(gpu, board, wanted, mode=mode)


def _problem(gpu: Gpu, target: GpuTarget) -> str:
    """Why this GPU cannot be changed, regardless of its instances; empty if the target requires no change."""
    if target.mig_enabled is None and target.layout is None:
        return ""
    match not_served(gpu) or no_mig(gpu) or awaits_reset(gpu):
        case NotServed(health=health, note=note):
            return f"{gpu.title} is {health}: {note or 'NVML does not say why'}"
        case NotMigCapable():
            # Like mig-parted, treat a GPU without MIG as one with MIG switched off.
            return f"{gpu.title} has no MIG" if target.mig_enabled or target.layout else ""
        case AwaitsReset(enabled=on):
            pending = "on" if on else "off"
            return f"{gpu.title} waits for a reset that switches MIG mode {pending}; it cannot be changed before that"
        case None:  # pragma: no branch: mypy knows that no kind is left
            return _mode_problem(gpu, target)


def _mode_problem(gpu: Gpu, target: GpuTarget) -> str:
    mode = _new_mode(gpu, target)
    if mode is not None and (running := clients_running(gpu)) is not None:
        names = ", ".join(str(client) for client in running.clients)
        return f"{gpu.title} cannot switch MIG mode {'on' if mode else 'off'} while {names} use it"
    if target.layout and not gpu.profiles:
        return f"the driver lists no profiles for {gpu.title}"
    if target.layout and not gpu.mig_enabled and not mode:
        return f"{gpu.title} has MIG mode off; enable it before creating instances"
    return ""


def _new_mode(gpu: Gpu, target: GpuTarget) -> bool | None:
    return None if target.mig_enabled in {None, gpu.mig_enabled} else target.mig_enabled


def _plan_layout(gpu: Gpu, board: Board, wanted: Wanted, *, mode: bool | None) -> GpuChange:
    staying = [each for each in gpu.instances if _unalterable(each)]
    whole = [each for each in gpu.instances if not each.used and each.compute_instances == 1]
    stay, idle = seats_of(gpu, staying), seats_of(gpu, whole)
    rest, taken = take(wanted, stay)
    if len(taken) == len(staying):
        found = arrange(board, board.occupy(stay), rest, idle)
        if found is not None:
            keys = {seat.key for seat in found.seats}
            kept = [*staying, *(each for each in whole if _key(each) in keys)]
            return _settle(gpu, board, (*taken, *found.seats), kept, mode=mode)
    return _blocked(gpu, board, wanted, staying, idle)


def _settle(gpu: Gpu, board: Board, seats: Sequence[Seat], kept: Sequence[Instance], *, mode: bool | None) -> GpuChange:
    """The change to exactly these seats: those without a kept instance are created, other instances destroyed."""
    there = {_key(instance) for instance in kept}
    created = [seat for seat in seats if seat.key not in there]
    destroyed = [each for each in gpu.instances if not any(each is other for other in kept)]
    instances = [
        *(planned(instance, Action.DESTROY) for instance in destroyed),
        *(planned(instance, Action.KEEP) for instance in kept),
        *(planned_new(seat) for seat in created),
    ]
    return GpuChange(
        gpu=gpu,
        axis=board.axis,
        mode=mode,
        instances=tuple(sorted(instances, key=lambda each: (each.placement.start, each.action is Action.CREATE))),
        reachable=_items(seats),
        steps=tuple(_steps(gpu, destroyed, created, mode=mode)),
    )


def _blocked(gpu: Gpu, board: Board, wanted: Wanted, staying: Sequence[Instance], idle: Sequence[Seat]) -> GpuChange:
    stay = seats_of(gpu, staying)
    contained = hindrance(board, wanted, stay)
    kept = {seat.key for seat in contained.kept}
    blocked = [Blocked(instance=each, why=_why(each, contained.seats)) for each in staying if _key(each) not in kept]
    others = [each for each in gpu.instances if all(each is not block.instance for block in blocked)]
    return GpuChange(
        gpu=gpu,
        axis=board.axis,
        instances=tuple(planned(each, Action.KEEP) for each in others),
        blocked=tuple(blocked),
        # Instances that the target contains serve it first, so none is reported both as blocking and as serving.
        reachable=_items(
            reachable(board, wanted, [*contained.kept, *(s for s in stay if s.key not in kept)], stay, idle)
        ),
    )


def _unalterable(instance: Instance) -> bool:
    """True for an instance in use, or one divided between compute instances, which hamid did not do."""
    return instance.used or instance.compute_instances > 1


def _why(instance: Instance, seats: Sequence[Seat]) -> str:
    state = (
        "in use"
        if instance.used
        else f"shared by {instance.compute_instances} compute instances, which hamid does not change"
    )
    in_the_way = [str(seat) for seat in seats if seat.placement.mask & instance.placement.mask]
    reason = f"in the way of {', '.join(sorted(in_the_way))}" if in_the_way else "not part of the target"
    return f"{state}, {reason}"


def _steps(gpu: Gpu, destroyed: Sequence[Instance], created: Sequence[Seat], *, mode: bool | None) -> Iterator[Step]:
    if mode is True:
        yield switch_mode(gpu, enabled=True)
    yield from (destroy(gpu, instance) for instance in destroyed)
    yield from (create(gpu, seat) for seat in sorted(created, key=lambda seat: seat.placement.start))
    if mode is False:
        yield switch_mode(gpu, enabled=False)


def _key(instance: Instance) -> tuple[int, int]:
    return (instance.profile_id, instance.placement.start)


def _items(seats: Iterable[Seat]) -> tuple[LayoutItem, ...]:
    ordered = sorted(seats, key=lambda seat: (seat.placement, seat.profile.profile_id))
    return tuple(LayoutItem(seat.profile.name, seat.placement.start) for seat in ordered)


def _warnings(change: GpuChange) -> Iterator[str]:
    gone = {step.placement for step in change.steps if isinstance(step, DestroyInstance)}
    for each in change.gpu.instances:
        if each.compute_instances == 0 and each.placement in gone:
            name = f"{each.profile}@{each.placement.start}"
            yield f"{name} on {change.gpu.title} has no compute instance and will be destroyed"
