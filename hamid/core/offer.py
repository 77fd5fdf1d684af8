# SPDX-License-Identifier: Apache-2.0
"""What one GPU can offer a request: an Offer, or the Reason why not.

With templates the law is: the first template in its model's order that can hold the request beside the instances in
use; in it the smallest sufficient slots; starts that keep the template's rest creatable. Instances in use are never
touched. Idle ones are reused where they match; they are destroyed only if hamid made them or the request reclaims.
"""

from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from hamid.core.geometry import Seat, format_geometry
from hamid.core.gpu import Gpu, Health, Instance
from hamid.core.placement import Board, Occupancy, board_of
from hamid.core.plan import Reason, ReasonCode
from hamid.core.profile import Profile
from hamid.core.request import Request
from hamid.core.templates import ModelTemplates, Template, TemplateTable


class Grant(Struct, frozen=True):
    """A seat that the request gets; `instance` is the idle one that already lies there, or None to create it."""

    seat: Seat
    instance: Instance | None


class Offer(Struct, frozen=True, kw_only=True):
    """How one GPU would serve: what is granted, destroyed and kept, and what is taken afterwards."""

    gpu: Gpu
    template: Template | None
    grants: tuple[Grant, ...]
    destroyed: tuple[Instance, ...]
    kept: tuple[Instance, ...]
    occupancy: Occupancy


class _Verdict(Struct, frozen=True):
    """Why a template was passed over; `room` is how many instances it could still hold."""

    template: Template
    code: ReasonCode
    room: int = 0


def obstacle(gpu: Gpu, request: Request) -> Reason | None:
    """What keeps a GPU from serving any MIG request now, or None."""
    code, message, hint = _state_problem(gpu, request) or (None, "", "")
    return None if code is None else Reason(gpu=gpu.index, code=code, message=message, hint=hint)


def _state_problem(gpu: Gpu, request: Request) -> tuple[ReasonCode, str, str] | None:
    if gpu.health is not Health.OK:
        code = ReasonCode.LOST if gpu.health is Health.LOST else ReasonCode.UNREADABLE
        return (
            code,
            f"the driver does not serve this GPU: {gpu.note}",
            "see dmesg for its Xid; reset or replace it",
        )
    if not gpu.mig_capable:
        return (ReasonCode.NOT_MIG_CAPABLE, "this GPU has no MIG", "use hami-core sharing on it")
    if gpu.mode_changing:
        wanted = "enabled" if gpu.mig_pending else "disabled"
        return (
            ReasonCode.MODE_PENDING,
            f"MIG mode is pending to be {wanted}",
            "the change takes effect at the next GPU reset or reboot, once nothing uses the GPU",
        )
    if request.memory.percent is not None and gpu.memory_mib is None:
        return (
            ReasonCode.UNKNOWN_MODEL,
            "its total memory is unknown, so a percentage means nothing",
            "ask in MiB",
        )
    return None if gpu.mig_enabled else _mode_problem(gpu, request)


def _mode_problem(gpu: Gpu, request: Request) -> tuple[ReasonCode, str, str] | None:
    """Why MIG mode cannot be switched on for this request, or None."""
    if gpu.clients:
        names = ", ".join(str(holder) for holder in gpu.clients)
        return (
            ReasonCode.CLIENTS_RUNNING,
            f"MIG is off and cannot be switched on while {names} use the GPU",
            "wait until they end, or choose another GPU",
        )
    if not request.enable_mig:
        return (ReasonCode.MIG_DISABLED, "MIG is off and --no-enable was given", "leave out --no-enable")
    return None


def offer_by_template(gpu: Gpu, request: Request, count: int, table: TemplateTable) -> Offer | Reason:
    """`count` instances on this GPU by the templates of its model; the caller has asked `obstacle`."""
    entry = table.lookup(gpu.name)
    if entry is None:
        return Reason(
            gpu=gpu.index,
            code=ReasonCode.UNKNOWN_MODEL,
            message=f"no template for '{gpu.name or 'a GPU without a name'}' in {table.source}",
            hint="list them with: hamictl mig templates",
        )
    search = _TemplateSearch(gpu, request, count)
    for reclaim in (False, True):
        for template in entry.templates:
            found = search.best(template, reclaim=reclaim)
            if found is not None:
                return found
    return search.reason(entry)


class _TemplateSearch:
    """The search over one GPU's templates; collects why each was passed over."""

    def __init__(self, gpu: Gpu, request: Request, count: int) -> None:
        self.gpu = gpu
        self.request = request
        self.count = count
        self.board: Board = board_of(gpu.profiles)
        self.used = gpu.used_instances
        self.idle = tuple(instance for instance in gpu.instances if not instance.used)
        self.occupied = self.board.occupy(seats_of(gpu, self.used))
        self.verdicts: dict[int, _Verdict] = {}

    def best(self, template: Template, *, reclaim: bool) -> Offer | None:
        """The cheapest offer within a template: fewest destroyed, fewest created, most later choices, lowest starts."""
        slots = self._slots(template)
        if isinstance(slots, _Verdict):
            self.verdicts[template.index] = slots
            return None
        granted, rest = slots
        offers = self._offers(template, granted, rest, reclaim=reclaim)
        best = min(offers, key=self._cost, default=None)
        if best is None:
            self.verdicts[template.index] = _Verdict(template, ReasonCode.FOREIGN_INSTANCE)
        return best

    def _slots(self, template: Template) -> tuple[list[Profile], list[Profile]] | _Verdict:
        """The smallest sufficient free slots and the slots that stay, or why the template is passed over."""
        if any(self.board.named(name) is None for name in template.geometry):
            return _Verdict(template, ReasonCode.UNKNOWN_MODEL)
        free = Counter(template.geometry)
        free.subtract(instance.profile for instance in self.used)
        if min(free.values()) < 0 or not self._realisable(free):
            return _Verdict(template, ReasonCode.TEMPLATE_IN_USE)
        wanted = self._sufficient(template, free)
        if not self._sufficient(template, Counter(template.geometry)):
            return _Verdict(template, ReasonCode.NO_PROFILE_THAT_LARGE)
        if len(wanted) < self.count:
            return _Verdict(template, ReasonCode.NO_FREE_PLACEMENT, len(wanted))
        granted = sorted(wanted[: self.count], key=lambda profile: profile.profile_id)
        free.subtract(profile.name for profile in granted)
        return granted, self._profiles(free)

    def _sufficient(self, template: Template, free: Counter[str]) -> list[Profile]:
        """Free slots that are large enough, smallest first; suffixed profiles are for those who name them."""
        need = self.request.memory.of(self.gpu.memory_mib or 0)
        memory = {slot.name: slot.memory_mib for slot in template.slots}
        slots = [p for p in self._profiles(free) if memory[p.name] >= need and not p.suffix]
        return sorted(slots, key=lambda p: (memory[p.name], p.compute_slices, p.profile_id))

    def _profiles(self, free: Counter[str]) -> list[Profile]:
        """Each free slot's profile; equal ones stand together, large ones first since they are hardest to seat."""
        found = [(self.board.named(name), number) for name, number in free.items()]
        slots = [profile for profile, number in found if profile is not None for _ in range(number)]
        return sorted(slots, key=lambda profile: (-profile.size, profile.profile_id))

    def _realisable(self, free: Counter[str]) -> bool:
        return self.board.can_seat(self.occupied, self._profiles(free))

    def _offers(
        self, template: Template, granted: list[Profile], rest: list[Profile], *, reclaim: bool
    ) -> Iterator[Offer]:
        for seats in self.board.arrangements(self.occupied, granted):
            occupied = self.board.occupy([*seats_of(self.gpu, self.used), *seats])
            if not self.board.can_seat(occupied, rest):
                continue
            offer = self._offer(template, seats, occupied)
            if all(reclaim and self._reclaimable(instance) for instance in offer.destroyed):
                yield offer

    def _offer(self, template: Template, seats: tuple[Seat, ...], occupied: Occupancy) -> Offer:
        idle = {(instance.profile_id, instance.placement.start): instance for instance in self.idle}
        grants = tuple(Grant(seat, idle.pop(seat.key, None)) for seat in seats)
        kept: list[Instance] = []
        destroyed: list[Instance] = []
        for instance, seat in zip(idle.values(), seats_of(self.gpu, tuple(idle.values())), strict=True):
            if self.board.fits(occupied, seat):
                occupied = self.board.add(occupied, seat)
                kept.append(instance)
            else:
                destroyed.append(instance)
        return Offer(
            gpu=self.gpu,
            template=template,
            grants=grants,
            destroyed=tuple(destroyed),
            kept=(*self.used, *kept),
            occupancy=occupied,
        )

    def _reclaimable(self, instance: Instance) -> bool:
        return self.request.reclaim_idle or instance.generation > 0

    def _cost(self, offer: Offer) -> tuple[int, int, int, list[int]]:
        created = sum(grant.instance is None for grant in offer.grants)
        starts = sorted(grant.seat.placement.start for grant in offer.grants)
        return (len(offer.destroyed), created, -self.board.later_choices(offer.occupancy), starts)

    def reason(self, entry: ModelTemplates) -> Reason:
        """The one reason that says most to an operator."""
        verdicts = self.verdicts.values()
        foreign = [verdict for verdict in verdicts if verdict.code is ReasonCode.FOREIGN_INSTANCE]
        short = [verdict for verdict in verdicts if verdict.code is ReasonCode.NO_FREE_PLACEMENT]
        frozen = [verdict for verdict in verdicts if verdict.code is ReasonCode.TEMPLATE_IN_USE]
        would_hold = [
            v for v in frozen if len(self._sufficient(v.template, Counter(v.template.geometry))) >= self.count
        ]
        if foreign:
            return self._foreign()
        if short and not (would_hold and all(verdict.room == 0 for verdict in short)):
            return self._short(short)
        return self._frozen(would_hold) if would_hold else self._too_large(entry)

    def _foreign(self) -> Reason:
        return self._reason(
            ReasonCode.FOREIGN_INSTANCE,
            f"{self._wanted} would need the place of idle instances that hamid did not make: {_list(self.idle)}",
            "allow to destroy them with --reclaim-idle, or choose another GPU",
        )

    def _short(self, verdicts: list[_Verdict]) -> Reason:
        best = max(verdicts, key=lambda verdict: (verdict.room, -verdict.template.index))
        held = f" beside {_list(self.used)}" if self.used else ""
        return self._reason(
            ReasonCode.NO_FREE_PLACEMENT,
            f"{self._wanted}: at most {best.room} fit{held}, in template {format_geometry(best.template.geometry)}",
            "ask for fewer or smaller instances, or let other GPUs take part",
        )

    def _frozen(self, verdicts: list[_Verdict]) -> Reason:
        needed = " or ".join(format_geometry(verdict.template.geometry) for verdict in verdicts)
        return self._reason(
            ReasonCode.TEMPLATE_IN_USE,
            f"{_list(self.used)} in use freeze its template; {self._wanted} would need {needed}",
            "wait until they are released, or choose another GPU",
        )

    def _too_large(self, entry: ModelTemplates) -> Reason:
        largest = max((slot.memory_mib for t in entry.templates for slot in t.slots), default=0)
        return self._reason(
            ReasonCode.NO_PROFILE_THAT_LARGE,
            f"no template of this model has {self.request.memory} in one instance; the largest has {largest} MiB",
            "ask for less memory per instance; see: hamictl mig templates",
        )

    @property
    def _wanted(self) -> str:
        return f"{self.count} x {self.request.memory}"

    def _reason(self, code: ReasonCode, message: str, hint: str) -> Reason:
        return Reason(gpu=self.gpu.index, code=code, message=message, hint=hint)


def _list(instances: tuple[Instance, ...]) -> str:
    return ", ".join(f"{instance.profile}@{instance.placement.start}" for instance in instances)


def seats_of(gpu: Gpu, instances: tuple[Instance, ...]) -> list[Seat]:
    """Where instances lie; one whose profile the driver no longer lists is taken by its size alone."""
    return [Seat(gpu.profile_of(instance) or _bare_profile(instance), instance.placement) for instance in instances]


def _bare_profile(instance: Instance) -> Profile:
    return Profile(
        name=instance.profile,
        profile_id=instance.profile_id,
        memory_mib=instance.memory_mib,
        compute_slices=0,
        multiprocessors=0,
        max_instances=1,
        placements=(instance.placement,),
    )
