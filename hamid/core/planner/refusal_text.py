# SPDX-License-Identifier: Apache-2.0
"""Reasons in words for an operator: what `hamictl mig plan` and its JSON document say."""

from collections.abc import Iterable, Mapping
from typing import Final

from hamid.core.hardware.geometry import format_geometry
from hamid.core.hardware.gpu import Instance
from hamid.core.planner import reasons
from hamid.core.planner.plan import Consideration

_FEWER: Final = "ask for fewer or smaller instances, or let other GPUs take part"
# What an operator can do; a kind of reason that only a pod meets has no entry.
_HINTS: Final[Mapping[type[reasons.GpuFacts], str]] = {
    reasons.NotSelected: "leave out -i, or name this GPU too",
    reasons.OtherModel: "leave out --model",
    reasons.NotServed: "see dmesg for its Xid; reset or replace it",
    reasons.NotMigCapable: "use hami-core sharing on it",
    reasons.AwaitsReset: "the change takes effect at the next GPU reset or reboot, once nothing uses the GPU",
    reasons.ClientsRunning: "wait until they end, or choose another GPU",
    reasons.MigDisabled: "leave out --no-enable",
    reasons.MemoryUnknown: "ask in MiB",
    reasons.NoTemplates: "see hamictl mig templates --all; give your own with --templates, or use --policy packed",
    reasons.NoProfileThatLarge: "ask for less per instance; see: hamictl mig profiles",
    reasons.NoTemplateThatLarge: "ask for less per instance; see: hamictl mig templates",
    reasons.IdleInTheWay: "allow to destroy them with --reclaim-idle, or choose another GPU",
    reasons.NoFreePlacement: _FEWER,
    reasons.NoFreeSlots: _FEWER,
    reasons.TemplateInUse: "wait until they are released, choose another GPU, or use --policy packed",
}


def hint(reason: reasons.Reason) -> str:
    """What an operator can do about a reason; nothing where only a pod could meet it."""
    facts = reason.facts
    advice = (
        f"it has {', '.join(facts.known)}" if isinstance(facts, reasons.UnknownProfile) else _HINTS.get(type(facts), "")
    )
    if not reason.blockers:
        return advice
    names = list_instances(reason.blockers)
    by_hand = f"moving {names} on the same GPU would make room" if reason.movable else f"the end of {names} would do"
    return f"{by_hand}; or {advice}"


def message(facts: reasons.GpuFacts) -> str:
    """What keeps a GPU from serving a request."""
    if isinstance(facts, reasons.Exclusion):
        return _exclusion(facts)
    if isinstance(facts, reasons.State):
        return _state(facts)
    return _shortage(facts) if isinstance(facts, reasons.Shortage) else _full_share(facts)


def verdict(each: Consideration) -> str:
    """What became of something that the planner looked at."""
    return each.verdict if isinstance(each.verdict, str) else message(each.verdict)


def _exclusion(facts: reasons.Exclusion) -> str:
    match facts:
        case reasons.NotSelected():
            return "not among the GPUs that were asked for"
        case reasons.OtherModel():
            return f"it is no {' or '.join(facts.models)} but {facts.name or 'unnamed'}"
        case reasons.FilteredOut():
            return "filtered out by the configuration"
        case reasons.OtherUuid():
            return "its uuid is not among those asked for"
        case reasons.OtherType():
            return f"it is no {' or '.join(facts.types)}"
        case reasons.Avoided():  # pragma: no branch: mypy knows that no kind is left
            return f"its {facts.attribute} is among those to avoid"


def _state(facts: reasons.State) -> str:
    match facts:
        case reasons.NotServed():
            return f"the driver does not serve this GPU: {facts.note}"
        case reasons.Unavailable():
            return facts.problem
        case reasons.NotMigCapable():
            return "this GPU has no MIG"
        case reasons.AwaitsReset():
            return f"MIG mode is pending to be {'enabled' if facts.enabled else 'disabled'}"
        case reasons.ModeLags():
            return "its MIG mode is still on" if facts.enabled else "its MIG mode is not on yet"
        case reasons.WrongMode():
            return f"it is in mode {facts.configured}, {facts.wanted} was asked"
        case reasons.ClientsRunning():
            return f"MIG is off and cannot be switched on while {', '.join(map(str, facts.clients))} use the GPU"
        case reasons.MigDisabled():
            return "MIG is off and --no-enable was given"
        case reasons.MemoryUnknown():  # pragma: no branch: mypy knows that no kind is left
            return "its total memory is unknown, so a percentage means nothing"


def _shortage(facts: reasons.Shortage) -> str:
    match facts:
        case reasons.NoTemplates():
            return f"no template for '{facts.name or 'a GPU without a name'}' in {facts.source}"
        case reasons.UnknownProfile():
            return f"this GPU has no profile {facts.profile}"
        case reasons.NoProfileThatLarge():
            return f"no profile of this GPU has {facts.size}; the largest has {facts.largest_mib} MiB"
        case reasons.NoTemplateThatLarge():
            return f"no template of this model holds {facts.wanted}; its largest slot has {facts.largest_mib} MiB"
        case reasons.IdleInTheWay():
            names = list_instances(facts.instances)
            return f"{facts.wanted} would need the place of idle instances that hamid did not make: {names}"
        case reasons.NoFreePlacement():
            return f"{facts.wanted} have no free placement{_beside(facts.used)}"
        case reasons.NoFreeSlots():
            room = room_text(facts.free, facts.count, facts.used)
            return f"{facts.wanted}: template {format_geometry(facts.template)} {room}"
        case reasons.TemplateInUse():  # pragma: no branch: mypy knows that no kind is left
            needed = " or ".join(map(format_geometry, facts.needed))
            return f"{list_instances(facts.used)} in use freeze its template; {facts.wanted} would need {needed}"


def _full_share(facts: reasons.FullShare) -> str:
    match facts:
        case reasons.TotalUnknown():
            return "its memory is unknown; set preconfigured_memory_mib"
        case reasons.SplitUsedUp():
            return f"it is shared by {facts.users} containers, as many as the split count allows"
        case reasons.MemoryTaken():
            return f"{facts.free_mib} of {facts.total_mib} MiB are free, {facts.wanted_mib} were asked"
        case reasons.CoresTaken():
            cores = f"{facts.free_percent}% of {facts.total_percent}% cores"
            return f"{cores} are free, {facts.wanted_percent}% were asked"
        case reasons.CoresShared():
            return "all of its cores were asked, and other containers share it"
        case reasons.CoresPromised():  # pragma: no branch: mypy knows that no kind is left
            return "all of its cores are promised"


def room_text(free: int, count: int, used: Iterable[Instance]) -> str:
    """How much of a request a template can hold."""
    return f"holds {free} of {count}{_beside(used)}"


def list_instances(instances: Iterable[Instance]) -> str:
    """Instances in words: `2g.10gb@0, 1g.5gb@6`."""
    return ", ".join(f"{instance.profile}@{instance.placement.start}" for instance in instances)


def _beside(used: Iterable[Instance]) -> str:
    names = list_instances(used)
    return f" beside {names}" if names else ""
