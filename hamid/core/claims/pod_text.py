# SPDX-License-Identifier: Apache-2.0
"""The text of a refusal for a pod: hamid's answer to kubelet, and its log.

The reader has a pod that does not start and ran no command, so the text names no option of hamictl mig plan.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from hamid.core.planner import refusal as why
from hamid.core.planner import refusal_text
from hamid.core.planner.reasons import NotServed, Reason, ReasonCode

_NO_GPU: Final = "no GPU of this node can serve the request"
_SEE_NODE: Final = "see hamictl gpu list and hamictl config show"
_MAKE_ROOM: Final = "delete a container, ask for less, or see hamictl alloc list"
_NEW_POD: Final = "delete the pod; its replacement gets a new grant"
_MAX_ID: Final = 80
_BY_CODE: Final[Mapping[ReasonCode, str]] = {
    ReasonCode.TEMPLATE_IN_USE: "wait until they are released, or set policy: packed",
    ReasonCode.NO_FREE_PLACEMENT: _MAKE_ROOM,
    ReasonCode.NO_PROFILE_THAT_LARGE: "ask for less memory; see hamictl mig profiles",
    ReasonCode.UNKNOWN_MODEL: "give templates for it in device-config.yaml, or set policy: packed",
}


class PodText(Struct, frozen=True):
    """What happened, what to do, and the reason for each GPU or container."""

    message: str
    hint: str = ""
    reasons: tuple[str, ...] = ()


def for_pod(refusal: why.Refusal) -> PodText:
    """The text of a refusal."""
    facts = refusal.facts
    if isinstance(facts, why.NoKind):
        return _joined([for_pod(each) for each in facts.refusals])
    reasons = [f"GPU {each.gpu}: {_reason(each)}" for each in refusal.reasons]
    if isinstance(facts, why.Ambiguous):
        reasons = [f"{container}: {wants}" for container, wants in facts.waiting]
    message, hint = _words(facts, refusal.reasons)
    return PodText(message, hint, tuple(reasons))


def _joined(texts: Sequence[PodText]) -> PodText:
    message = "; ".join(dict.fromkeys(text.message for text in texts))
    return PodText(message, texts[0].hint, tuple(reason for text in texts for reason in text.reasons))


# -- what happened, and what to do --


def _words(facts: why.PlainFacts, reasons: Sequence[Reason]) -> tuple[str, str]:
    if isinstance(facts, why.NoFit):
        return _no_fit(facts, reasons)
    if isinstance(facts, why.Unidentified):
        return _unidentified(facts)
    return _claim(facts) if isinstance(facts, why.ClaimProblem) else _node(facts)


def _no_fit(facts: why.NoFit, reasons: Sequence[Reason]) -> tuple[str, str]:
    match facts:
        case why.NoInstances():
            return f"no room for {facts.wanted}", next(filter(None, map(_hint, reasons)), _SEE_NODE)
        case why.NoShares():
            gpus = f"{facts.count} GPU{'s' if facts.count > 1 else ''}"
            return f"no {gpus} with room for {facts.size}", _MAKE_ROOM if facts.eligible else _SEE_NODE
        case why.NoGpu():  # pragma: no branch: mypy knows that no kind is left
            return _NO_GPU, _SEE_NODE


def _unidentified(facts: why.Unidentified) -> tuple[str, str]:
    match facts:
        case why.RepeatedDevice():
            return "the same device id is requested twice", ""
        case why.UnknownDevice():
            hint = "kubelet has an outdated device list; delete the pod, and its replacement gets a current device"
            return f"'{facts.device_id[:_MAX_ID]}' is not a device of this node", hint
        case why.PodsUnknown():
            problem = facts.problem or "the list of pods is incomplete"
            return f"cannot tell which container this call is for: {problem}", "see pods_source in docs/config.md"
        case why.NoPodWaits():
            hint = facts.problem or "it may be deleted, or missing from the list of pods"
            return f"no pod on this node waits for {facts.count} of {facts.resource}", hint
        case why.InvalidPod():
            return facts.problem, "fix the pod and create it again"
        case why.Ambiguous():  # pragma: no branch: mypy knows that no kind is left
            hint = "start them one after the other, or set on_ambiguity"
            return f"{facts.count} containers wait for the same number of devices but request different things", hint


def _claim(facts: why.ClaimProblem) -> tuple[str, str]:
    match facts:
        case why.NoGrantKept():
            return f"claim '{facts.claim}' carries no grant", "delete the pod"
        case why.NoClaim():
            return "no claim holds these devices", _NEW_POD
        case why.GrantLost():  # pragma: no branch: mypy knows that no kind is left
            there = ", ".join(f"{name} is {uuid}" for name, uuid in facts.there) or "nothing is left"
            return f"the container was told {', '.join(facts.gone)}, which is gone: {there}", _NEW_POD


def _node(facts: why.NodeProblem) -> tuple[str, str]:
    match facts:
        case why.NotReady():
            message = "hamid is shutting down" if facts.ending else "hamid is still restoring existing claims"
            return message, "; ".join(facts.problems) or "try again in a moment"
        case why.LedgerUncertain():
            hint = "hamid grants nothing new until it is; delete these pods, or stop hamid and run hamictl mig repair"
            return facts.problem or "the ledger was lost and is not fully rebuilt yet", hint
        case why.Failed():  # pragma: no branch: mypy knows that no kind is left
            return facts.message, facts.hint


# -- a GPU's reason --


def _reason(reason: Reason) -> str:
    facts = reason.facts
    if isinstance(facts, NotServed):
        return f"the driver does not serve it: {facts.note}"
    return refusal_text.message(facts)


def _hint(reason: Reason) -> str:
    """What to do when a GPU is full; for a GPU that is excluded or not served there is no advice."""
    if isinstance(reason.facts, NotServed) or reason.code is ReasonCode.EXCLUDED:
        return ""
    if reason.code is ReasonCode.FOREIGN_INSTANCE:
        command = f"hamictl mig repair --reclaim-idle -i {reason.gpu}"
        return f"set foreign_instances: reclaim, or stop hamid, run '{command}' and start it again"
    return _BY_CODE.get(reason.code) or refusal_text.hint(reason)
