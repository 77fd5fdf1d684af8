# SPDX-License-Identifier: Apache-2.0
"""The planner: a Request over a Snapshot becomes a Plan or a Refusal.

    decide(request, snapshot, table) -> Plan | Refusal

The fewest GPUs serve a request; among those that could, GPUs in use come before idle ones (or after, to spread), then
the one that loses least for later requests, then by index. A plan's steps are ordered per GPU: the mode, then what is
destroyed, then what is created, so that every state between is legal.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import count_names
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.snapshot import Snapshot, select_gpus
from hamid.core.planner.blockers import can_return, subsets, without
from hamid.core.planner.by_packing import offer_packed
from hamid.core.planner.by_template import offer_by_template
from hamid.core.planner.eligibility import obstacle
from hamid.core.planner.offer import Assignment, Evaluation, Offer
from hamid.core.planner.plan import (
    Action,
    Consideration,
    GpuPlan,
    Plan,
    PlannedInstance,
    Step,
    create,
    destroy,
    planned,
    planned_new,
    switch_mode,
)
from hamid.core.planner.reasons import GpuFacts, Reason, ReasonCode
from hamid.core.planner.refusal import NoInstances, PlanRefusal
from hamid.core.planner.request import GpuPolicy, Policy, Request
from hamid.core.planner.seating import cost
from hamid.core.planner.templates import TemplateTable, instance_counts

_NO_ROOM = frozenset({ReasonCode.NO_FREE_PLACEMENT, ReasonCode.TEMPLATE_IN_USE})
_Ask = Callable[[Gpu, int], Evaluation]


def decide(
    request: Request, snapshot: Snapshot, table: TemplateTable, *, explain: bool = False, warnings: Iterable[str] = ()
) -> Plan | PlanRefusal:
    """The plan that meets the request, or why it cannot be met; `explain` keeps everything that was considered.

    Raises UsageError for GPU selectors that name none.
    """
    selected = frozenset(gpu.index for gpu in select_gpus(snapshot, request.gpus))
    offering = offer_by_template if request.policy is Policy.TEMPLATE else offer_packed

    def ask(gpu: Gpu, count: int) -> Evaluation:
        hindrance = obstacle(gpu, request, selected)
        return Evaluation(hindrance, ()) if hindrance else offering(gpu, request, count, table)

    answers = _ask_in_order(request, snapshot.gpus, ask, every=explain)
    offers = [answer.result for answer in answers.values() if isinstance(answer.result, Offer)]
    chosen = (min(offers, key=_preference(request)),) if offers else _several(request, snapshot.gpus, ask)
    considered = tuple(_considered(snapshot, answers, chosen)) if explain else ()
    if chosen:
        return make_plan(request, snapshot, chosen, considered=considered, warnings=warnings)
    return PlanRefusal(
        facts=NoInstances(request.wanted),
        request=request,
        reasons=tuple(
            # The search for blockers tries many layouts, so it runs only with `explain`.
            _with_blockers(gpu, reason, request, ask) if explain else reason
            for gpu, reason in _pairs(snapshot, answers)
        ),
        fingerprint=snapshot.fingerprint(),
        simulated=snapshot.simulated,
        warnings=tuple(warnings),
        considered=considered,
    )


def _ask_in_order(request: Request, gpus: Sequence[Gpu], ask: _Ask, *, every: bool) -> dict[int, Evaluation]:
    """The GPUs' answers by index; unless every one is wanted, it stops when no later GPU can beat the best."""
    spread = request.gpu_policy is GpuPolicy.SPREAD
    answers: dict[int, Evaluation] = {}
    best: tuple[object, ...] | None = None
    for rank, gpu in sorted(((_rank(gpu, spread=spread), gpu) for gpu in gpus), key=lambda pair: pair[0]):
        # Within a rank, packed weighs what each GPU would lose; templates take the first by index.
        if best is not None and not every and (rank[:2] != best or request.policy is Policy.TEMPLATE or spread):
            break
        answers[gpu.index] = ask(gpu, request.count)
        if best is None and isinstance(answers[gpu.index].result, Offer):
            best = rank[:2]
    return answers


def _rank(gpu: Gpu, *, spread: bool) -> tuple[bool, int, int]:
    """The preference order of GPUs before placement: less is better."""
    in_use = bool(gpu.used_instances)
    slices = sum(instance.placement.size for instance in gpu.used_instances) if spread else 0
    return (in_use if spread else not in_use, slices, gpu.index)


def _preference(request: Request) -> Callable[[Offer], tuple[object, ...]]:
    """The preference order of GPUs: less is better."""
    spread = request.gpu_policy is GpuPolicy.SPREAD
    # Under templates every GPU of a model loses the same; only packed placements differ in cost.
    weigh = request.policy is Policy.PACKED and not spread

    def key(offer: Offer) -> tuple[object, ...]:
        *rank, index = _rank(offer.gpu, spread=spread)
        named = request.profile is not None
        loss = cost(board_of(offer.gpu.profiles), offer.before, offer.after, named=named) if weigh else 0
        return (*rank, loss, index)

    return key


def _several(request: Request, gpus: Sequence[Gpu], ask: _Ask) -> tuple[Offer, ...]:
    """The fewest GPUs that hold the request together, or none: most space first, the last one by preference."""
    if request.same_gpu:
        return ()
    prefer = _preference(request)
    rooms = [room for gpu in gpus if (room := _GpuCapacity(gpu, request.count - 1, ask)).most]
    rooms.sort(key=lambda room: (-room.most, prefer(room.offer(room.most))))
    if sum(room.most for room in rooms) < request.count:
        return ()
    chosen: list[Offer] = []
    missing = request.count
    while missing:
        enough = [room for room in rooms if room.most >= missing]
        room = min(enough, key=lambda room: prefer(room.offer(missing))) if enough else rooms[0]
        chosen.append(room.offer(min(missing, room.most)))
        missing -= min(missing, room.most)
        rooms.remove(room)
    return tuple(chosen)


class _GpuCapacity:
    """How many instances one GPU can hold, up to a limit, and its offers, each computed only once."""

    def __init__(self, gpu: Gpu, limit: int, ask: _Ask) -> None:
        self._results: dict[int, Offer | Reason] = {}
        self._gpu = gpu
        self._ask = ask
        # A GPU that holds n instances also holds fewer, so a binary search finds the maximum.
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            fits = isinstance(self._result(middle), Offer)
            low, high = (middle, high) if fits else (low, middle - 1)
        self.most = low

    def _result(self, count: int) -> Offer | Reason:
        if count not in self._results:
            self._results[count] = self._ask(self._gpu, count).result
        return self._results[count]

    def offer(self, count: int) -> Offer:
        """The offer for a count up to `most`."""
        result = self._result(count)
        if isinstance(result, Reason):  # pragma: no cover: a GPU that holds `most` holds fewer
            raise TypeError(f"no offer for {count}: {result.code}")
        return result


def _pairs(snapshot: Snapshot, answers: Mapping[int, Evaluation]) -> list[tuple[Gpu, Reason]]:
    results = [(gpu, answers[gpu.index].result) for gpu in snapshot.gpus]
    return [(gpu, result) for gpu, result in results if isinstance(result, Reason)]


def _with_blockers(gpu: Gpu, reason: Reason, request: Request, ask: _Ask) -> Reason:
    """The reason, with the smallest set of used instances that blocks the request if space is what is missing."""
    for group in subsets(gpu) if reason.code in _NO_ROOM else ():
        result = ask(without(gpu, group), request.count).result
        if isinstance(result, Offer):
            return replace(reason, blockers=group, movable=can_return(result, group))
    return reason


def _considered(
    snapshot: Snapshot, answers: Mapping[int, Evaluation], chosen: Sequence[Offer]
) -> Iterable[Consideration]:
    """Every GPU's considerations, and why each GPU that could serve was chosen or not."""
    taken = {offer.gpu.index for offer in chosen}
    for gpu in snapshot.gpus:
        answer = answers[gpu.index]
        yield from answer.considered
        if isinstance(answer.result, Reason):
            if gpu.index in taken:
                yield _on_gpu(gpu, None, "holds a part of the request")
            else:
                yield _on_gpu(gpu, answer.result.code, answer.result.facts)
        else:
            yield _on_gpu(gpu, None, "chosen" if gpu.index in taken else "could serve; another GPU comes first")


def _on_gpu(gpu: Gpu, code: ReasonCode | None, verdict: GpuFacts | str) -> Consideration:
    return Consideration(gpu=gpu.index, template=None, what=gpu.title, code=code, verdict=verdict, whole_gpu=True)


_ONE_DEVICE = (
    "a CUDA process can use only one MIG device: {count} instances serve {count} processes or containers, not one"
)


def make_plan(
    request: Request,
    snapshot: Snapshot,
    chosen: Sequence[Offer],
    *,
    considered: tuple[Consideration, ...] = (),
    warnings: Iterable[str] = (),
) -> Plan:
    """The plan of these offers, GPUs by index."""
    offers = sorted(chosen, key=lambda offer: offer.gpu.index)
    return Plan(
        request=request,
        gpus=tuple(_gpu_plan(offer) for offer in offers),
        steps=tuple(step for offer in offers for step in _steps(offer)),
        fingerprint=snapshot.fingerprint(),
        simulated=snapshot.simulated,
        warnings=tuple(dict.fromkeys([*warnings, *_warnings(request, offers)])),
        considered=considered,
    )


def _gpu_plan(offer: Offer) -> GpuPlan:
    board = board_of(offer.gpu.profiles)
    instances = [
        *(_granted(grant) for grant in offer.grants),
        *(planned(instance, Action.DESTROY) for instance in offer.destroyed),
        *(planned(instance, Action.KEEP) for instance in offer.kept),
    ]
    return GpuPlan(
        gpu=offer.gpu,
        axis=board.axis,
        template=offer.template,
        instances=tuple(sorted(instances, key=lambda item: (item.placement.start, item.action))),
        template_rest=_template_rest(offer),
        creatable=board.creatable(offer.after),
    )


def _template_rest(offer: Offer) -> dict[str, int] | None:
    if offer.template is None:
        return None
    used = [instance.profile for instance in offer.gpu.used_instances]
    return instance_counts(offer.template, [*used, *(grant.seat.profile.name for grant in offer.grants)])


def _granted(grant: Assignment) -> PlannedInstance:
    if grant.instance is not None:
        return planned(grant.instance, Action.REUSE, serves=True)
    return planned_new(grant.seat, serves=True)


def _steps(offer: Offer) -> Iterator[Step]:
    if not offer.gpu.mig_enabled:
        yield switch_mode(offer.gpu, enabled=True)
    yield from (destroy(offer.gpu, instance) for instance in offer.destroyed)
    yield from (create(offer.gpu, grant.seat) for grant in offer.grants if grant.instance is None)


def _warnings(request: Request, offers: Iterable[Offer]) -> Iterator[str]:
    if request.count > 1:
        yield _ONE_DEVICE.format(count=request.count)
    for offer in offers:
        for name in count_names(grant.seat.profile.name for grant in offer.grants):
            yield from _memory_warning(offer, name, request)


def _memory_warning(offer: Offer, name: str, request: Request) -> Iterator[str]:
    """A warning for each template slot whose real memory, by the driver, is less than the request."""
    profile = next(p for p in offer.gpu.profiles if p.name == name)
    need = 0 if request.memory is None else request.memory.of(offer.gpu.memory_mib or 0)
    if profile.memory_mib < need:
        yield (
            f"{name} has {profile.memory_mib} MiB on {offer.gpu.title} by NVML, less than the {need} MiB requested; "
            f"the template states more (--memory-match nvml uses the driver's figure)"
        )
