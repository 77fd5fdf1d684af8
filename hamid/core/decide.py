# SPDX-License-Identifier: Apache-2.0
"""The planner: a Request over a Snapshot becomes a Plan or a Refusal.

    decide(request, snapshot, table) -> Plan | Refusal

The fewest GPUs serve a request; among those that could, GPUs in use come before idle ones (or after, to spread), then
the one that loses least for later requests, then by index.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from hamid.core.blockers import Blockers, can_return, subsets, without
from hamid.core.eligible import obstacle
from hamid.core.gpu import Gpu
from hamid.core.offer import Answer, Offer
from hamid.core.offer_packed import offer_packed
from hamid.core.offer_template import offer_by_template
from hamid.core.packing import cost
from hamid.core.placement import board_of
from hamid.core.plan import Consideration, Plan, Reason, ReasonCode, Refusal
from hamid.core.realise import make_plan
from hamid.core.request import GpuPolicy, Policy, Request
from hamid.core.snapshot import Snapshot, select_gpus
from hamid.core.templates import TemplateTable

_NO_ROOM = frozenset({ReasonCode.NO_FREE_PLACEMENT, ReasonCode.TEMPLATE_IN_USE})
_Ask = Callable[[Gpu, int], Answer]


def decide(
    request: Request, snapshot: Snapshot, table: TemplateTable, *, explain: bool = False, warnings: Iterable[str] = ()
) -> Plan | Refusal:
    """The plan that meets the request, or why it cannot be met; `explain` keeps everything that was considered.

    Raises UsageError for GPU selectors that name none.
    """
    selected = frozenset(gpu.index for gpu in select_gpus(snapshot, request.gpus))
    offering = offer_by_template if request.policy is Policy.TEMPLATE else offer_packed

    def ask(gpu: Gpu, count: int) -> Answer:
        hindrance = obstacle(gpu, request, selected)
        return Answer(hindrance, ()) if hindrance else offering(gpu, request, count, table)

    answers = [ask(gpu, request.count) for gpu in snapshot.gpus]
    offers = [answer.result for answer in answers if isinstance(answer.result, Offer)]
    chosen = (min(offers, key=_preference(request)),) if offers else _several(request, snapshot.gpus, ask)
    considered = tuple(_considered(snapshot, answers, chosen)) if explain else ()
    if chosen:
        return make_plan(request, snapshot, chosen, considered=considered, warnings=warnings)
    return Refusal(
        request=request,
        reasons=tuple(
            # The search for blockers tries many layouts; only who asks for an explanation pays for it.
            _with_blockers(gpu, reason, request, ask) if explain else reason
            for gpu, reason in _pairs(snapshot, answers)
        ),
        fingerprint=snapshot.fingerprint(),
        simulated=snapshot.simulated,
        warnings=tuple(warnings),
        considered=considered,
    )


def _preference(request: Request) -> Callable[[Offer], tuple[object, ...]]:
    """The order in which GPUs come: less is better."""
    spread = request.gpu_policy is GpuPolicy.SPREAD

    def key(offer: Offer) -> tuple[object, ...]:
        in_use = bool(offer.gpu.used_instances)
        slices = sum(instance.placement.size for instance in offer.gpu.used_instances)
        # By template every GPU of a model loses the same; only packed placements differ in what they spoil.
        board = board_of(offer.gpu.profiles)
        loss = cost(board, offer.before, offer.after) if request.policy is Policy.PACKED and not spread else 0
        return (in_use if spread else not in_use, slices if spread else 0, loss, offer.gpu.index)

    return key


def _several(request: Request, gpus: Sequence[Gpu], ask: _Ask) -> tuple[Offer, ...]:
    """The fewest GPUs that hold the request together, or nothing: the roomiest first, the last one by preference."""
    if request.same_gpu:
        return ()
    prefer = _preference(request)
    rooms = [offers for gpu in gpus if (offers := _all_offers(gpu, request.count, ask))]
    rooms.sort(key=lambda offers: (-max(offers), prefer(offers[max(offers)])))
    chosen: list[Offer] = []
    missing = request.count
    while rooms and missing:
        enough = [offers for offers in rooms if missing in offers]
        offers = min(enough, key=lambda offers: prefer(offers[missing])) if enough else rooms[0]
        size = missing if enough else max(offers)
        chosen.append(offers[size])
        missing -= size
        rooms.remove(offers)
    return () if missing else tuple(chosen)


def _all_offers(gpu: Gpu, count: int, ask: _Ask) -> dict[int, Offer]:
    """What a GPU offers for each smaller count, up to what it can hold."""
    offers: dict[int, Offer] = {}
    for number in range(1, count):
        result = ask(gpu, number).result
        if not isinstance(result, Offer):
            break
        offers[number] = result
    return offers


def _pairs(snapshot: Snapshot, answers: Sequence[Answer]) -> list[tuple[Gpu, Reason]]:
    pairs = zip(snapshot.gpus, answers, strict=True)
    return [(gpu, answer.result) for gpu, answer in pairs if isinstance(answer.result, Reason)]


def _with_blockers(gpu: Gpu, reason: Reason, request: Request, ask: _Ask) -> Reason:
    """The reason with the smallest set of used instances that stands in the way, where room is what is missing."""
    blockers = _blockers(gpu, request.count, ask) if reason.code in _NO_ROOM else None
    if blockers is None:
        return reason
    return replace(reason, blockers=blockers.instances, hint=f"{blockers.advice}; or {reason.hint}")


def _blockers(gpu: Gpu, count: int, ask: _Ask) -> Blockers | None:
    for group in subsets(gpu):
        result = ask(without(gpu, group), count).result
        if isinstance(result, Offer):
            return Blockers(group, movable=can_return(result, group))
    return None


def _considered(snapshot: Snapshot, answers: Sequence[Answer], chosen: Sequence[Offer]) -> Iterable[Consideration]:
    """Every GPU's considerations, and for each GPU that could serve why it was taken or not."""
    taken = {offer.gpu.index for offer in chosen}
    for gpu, answer in zip(snapshot.gpus, answers, strict=True):
        yield from answer.considered
        if isinstance(answer.result, Reason):
            part = "holds a part of the request" if gpu.index in taken else answer.result.message
            yield _on_gpu(gpu, None if gpu.index in taken else answer.result.code, part)
        else:
            yield _on_gpu(gpu, None, "chosen" if gpu.index in taken else "could serve; another GPU comes first")


def _on_gpu(gpu: Gpu, code: ReasonCode | None, verdict: str) -> Consideration:
    return Consideration(gpu=gpu.index, template=None, what=gpu.title, code=code, verdict=verdict)
