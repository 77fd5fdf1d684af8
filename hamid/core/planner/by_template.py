# SPDX-License-Identifier: Apache-2.0
"""Policy template: what one GPU offers by the templates of its model.

The policy takes the first template, in the model's order, that can hold the request beside the instances in use. It
takes the smallest sufficient slots, at starts that keep the rest of the template creatable, and creates only the
granted instances.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from hamid.core.hardware.board import Board, board_of
from hamid.core.hardware.geometry import format_geometry
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.profile import Profile
from hamid.core.planner.offer import (
    Evaluation,
    Offer,
    idle_instances,
    make_offer,
    reclaimable,
    seats_of,
)
from hamid.core.planner.plan import Consideration
from hamid.core.planner.reasons import (
    GpuFacts,
    IdleInTheWay,
    NoFreeSlots,
    NoTemplates,
    NoTemplateThatLarge,
    Reason,
    ReasonCode,
    TemplateInUse,
)
from hamid.core.planner.refusal_text import list_instances, room_text
from hamid.core.planner.request import MemoryMatch, Request, Size, nvml_size, satisfies
from hamid.core.planner.templates import ModelTemplates, Template, TemplateTable


class _PassedOver(Struct, frozen=True):
    """Why a template was passed over; `room` is the number of instances that it could still hold."""

    template: Template
    code: ReasonCode
    text: str
    room: int = 0


def offer_by_template(gpu: Gpu, request: Request, count: int, table: TemplateTable) -> Evaluation:
    """`count` instances on this GPU by the templates of its model."""
    entry = table.lookup(gpu.name)
    if entry is None:
        return Evaluation(Reason(gpu=gpu.index, facts=NoTemplates(gpu.name, table.source)), ())
    return _TemplateSearch(gpu, request, count).answer(entry)


class _TemplateSearch:
    """The search over one GPU's templates; collects why each was passed over."""

    def __init__(self, gpu: Gpu, request: Request, count: int) -> None:
        self.gpu = gpu
        self.request = request
        self.count = count
        self.board: Board = board_of(gpu.profiles)
        self.used = gpu.used_instances
        self.idle = idle_instances(gpu)
        self.occupied = self.board.occupy(seats_of(gpu, self.used))
        self.verdicts: dict[int, _PassedOver] = {}

    def answer(self, entry: ModelTemplates) -> Evaluation:
        """The offer of the first template that holds the request, preferring one that destroys nothing."""
        for reclaim in (False, True):
            for template in entry.templates:
                found = self._best(template, reclaim=reclaim)
                if found is not None:
                    return Evaluation(found, tuple(self._considered(entry, found)))
        reason = Reason(gpu=self.gpu.index, facts=self._facts(entry))
        return Evaluation(reason, tuple(self._considered(entry, None)))

    def _best(self, template: Template, *, reclaim: bool) -> Offer | None:
        """The cheapest offer of a template: fewest destroyed, fewest created, most later choices, lowest starts."""
        slots = self._slots(template)
        if isinstance(slots, _PassedOver):
            self.verdicts[template.index] = slots
            return None
        best = min(self._offers(template, *slots, reclaim=reclaim), key=self._cost, default=None)
        if best is None:
            text = f"idle instances that hamid did not create are in the way: {list_instances(self.idle)}"
            self.verdicts[template.index] = _PassedOver(template, ReasonCode.FOREIGN_INSTANCE, text)
        return best

    def _slots(self, template: Template) -> tuple[list[Profile], list[Profile]] | _PassedOver:
        """The smallest sufficient free slots and the slots that stay, or why the template is passed over."""
        missing = [name for name in template.geometry if self.board.named(name) is None]
        if missing:
            return _PassedOver(template, ReasonCode.UNKNOWN_PROFILE, f"this GPU's driver has no profile {missing[0]}")
        every = Counter(template.geometry)
        largest = self._sufficient(template, every)
        if not largest:
            return _PassedOver(
                template, ReasonCode.NO_PROFILE_THAT_LARGE, f"none of its slots satisfies {self.request.size}"
            )
        free = every.copy()
        free.subtract(instance.profile for instance in self.used)
        if min(free.values()) < 0 or not self.board.can_seat(self.occupied, self._profiles(free)):
            text = f"{list_instances(self.used)} in use are not part of it"
            return _PassedOver(template, ReasonCode.TEMPLATE_IN_USE, text, len(largest))
        wanted = self._sufficient(template, free)
        if len(wanted) < self.count:
            text = room_text(len(wanted), self.count, self.used)
            return _PassedOver(template, ReasonCode.NO_FREE_PLACEMENT, text, len(wanted))
        granted = sorted(wanted[: self.count], key=lambda profile: profile.profile_id)
        free.subtract(profile.name for profile in granted)
        return granted, self._profiles(free)

    def _sufficient(self, template: Template, free: Counter[str]) -> list[Profile]:
        """Free slots that satisfy the request, smallest first."""
        sizes = _sizes(self.board, template, self.request, self.gpu.memory_mib or 0)
        return [size.profile for size in sizes for _ in range(free[size.profile.name])]

    def _profiles(self, free: Counter[str]) -> list[Profile]:
        """Each free slot's profile; equal profiles are adjacent, large ones first since they are hardest to seat."""
        found = [(self.board.named(name), number) for name, number in free.items()]
        slots = [profile for profile, number in found if profile is not None for _ in range(number)]
        return sorted(slots, key=lambda profile: (-profile.size, profile.profile_id))

    def _offers(
        self, template: Template, granted: list[Profile], rest: list[Profile], *, reclaim: bool
    ) -> Iterator[Offer]:
        used = seats_of(self.gpu, self.used)
        for seats in self.board.arrangements(self.occupied, granted):
            if not self.board.can_seat(self.board.occupy([*used, *seats]), rest):
                continue
            offer = make_offer(self.gpu, self.board, seats, template)
            if all(reclaim and reclaimable(instance, self.request) for instance in offer.destroyed):
                yield offer

    def _cost(self, offer: Offer) -> tuple[int, int, int, list[int]]:
        return (len(offer.destroyed), offer.created, -self.board.later_choices(offer.after), offer.starts)

    def _considered(self, entry: ModelTemplates, chosen: Offer | None) -> Iterator[Consideration]:
        """What became of every template, in order."""
        for template in entry.templates:
            verdict = self.verdicts.get(template.index)
            if chosen is not None and chosen.template is template:
                seats = ", ".join(str(grant.seat) for grant in chosen.grants)
                text, code = f"holds the request at {seats}", None
            elif verdict is None:
                text, code = "not needed: an earlier template holds the request", None
            else:
                text, code = verdict.text, verdict.code
            geometry = format_geometry(template.geometry)
            yield Consideration(gpu=self.gpu.index, template=template.index, what=geometry, code=code, verdict=text)

    def _facts(self, entry: ModelTemplates) -> GpuFacts:
        """The one reason that says most to an operator."""
        by_code = {code: [v for v in self.verdicts.values() if v.code is code] for code in ReasonCode}
        short = by_code[ReasonCode.NO_FREE_PLACEMENT]
        frozen = [verdict for verdict in by_code[ReasonCode.TEMPLATE_IN_USE] if verdict.room >= self.count]
        wanted = self.request.times(self.count)
        if by_code[ReasonCode.FOREIGN_INSTANCE]:
            return IdleInTheWay(wanted, self.idle)
        if short and not (frozen and all(verdict.room == 0 for verdict in short)):
            best = max(short, key=lambda verdict: (verdict.room, -verdict.template.index))
            return NoFreeSlots(wanted, best.template.geometry, best.room, self.count, self.used)
        if frozen:
            return TemplateInUse(wanted, self.used, tuple(verdict.template.geometry for verdict in frozen))
        return NoTemplateThatLarge(wanted, max((s.memory_mib for t in entry.templates for s in t.slots), default=0))


@lru_cache(maxsize=1024)
def _sizes(board: Board, template: Template, request: Request, gpu_memory_mib: int) -> tuple[Size, ...]:
    """The profiles of a template that satisfy the request, smallest first; equal GPUs share the answer."""
    sizes: list[Size] = []
    for slot in template.slots:
        profile = board.named(slot.name)
        if profile is None:  # pragma: no cover: a template with an unknown profile was passed over before
            continue
        own = nvml_size(profile, board.multiprocessors)
        memory_mib = slot.memory_mib if request.memory_match is MemoryMatch.TEMPLATE else own.memory_mib
        cores = own.cores_percent if slot.core_percent is None else slot.core_percent
        sizes.append(Size(profile, memory_mib, cores))
    return tuple(sorted((s for s in sizes if satisfies(s, request, gpu_memory_mib)), key=lambda size: size.order))
