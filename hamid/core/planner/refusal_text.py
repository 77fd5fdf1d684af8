# SPDX-License-Identifier: Apache-2.0
"""The text of reasons for an operator, in `hamictl mig plan` and its JSON document."""

from collections.abc import Iterable, Mapping
from typing import Final

from hamid.core.hardware.geometry import format_geometry
from hamid.core.hardware.gpu import Instance
from hamid.core.planner import reasons
from hamid.core.planner.plan import Consideration

_FEWER: Final = "request fewer or smaller instances, or allow more GPUs"
# What an operator can do; reasons that only apply to pods have no entry.
_HINTS: Final[Mapping[type[reasons.GpuFacts], str]] = {
    reasons.NotSelected: "omit -i, or add this GPU to it",
    reasons.OtherModel: "omit --model",
    reasons.NotServed: "look for its Xid in dmesg; reset or replace the GPU",
    reasons.NotMigCapable: "use hami-core sharing on this GPU",
    reasons.AwaitsReset: "the change takes effect at the next GPU reset or reboot, once nothing uses the GPU",
    reasons.ClientsRunning: "wait until they end, or choose another GPU",
    reasons.MigDisabled: "omit --no-enable",
    reasons.MemoryUnknown: "request the memory in MiB",
    reasons.NoTemplates: "see hamictl mig templates --all; pass your own with --templates, or use --policy packed",
    reasons.NoProfileThatLarge: "request less memory per instance; see: hamictl mig profiles",
    reasons.NoTemplateThatLarge: "request less memory per instance; see: hamictl mig templates",
    reasons.IdleInTheWay: "destroy them with --reclaim-idle, or choose another GPU",
    reasons.NoFreePlacement: _FEWER,
    reasons.NoFreeSlots: _FEWER,
    reasons.TemplateInUse: "wait until they are released, choose another GPU, or use --policy packed",
}


def hint(reason: reasons.Reason) -> str:
    """What an operator can do about a reason; empty for reasons that only apply to pods."""
    facts = reason.facts
    advice = (
        f"it has {', '.join(facts.known)}" if isinstance(facts, reasons.UnknownProfile) else _HINTS.get(type(facts), "")
    )
    if not reason.blockers:
        return advice
    names = list_instances(reason.blockers)
    by_hand = f"moving {names} on the same GPU would make room" if reason.movable else f"ending {names} would make room"
    return f"{by_hand}; or {advice}"


def message(facts: reasons.GpuFacts) -> str:
    """Why a GPU cannot serve a request."""
    if isinstance(facts, reasons.Exclusion):
        return _exclusion(facts)
    if isinstance(facts, reasons.State):
        return _state(facts)
    return _shortage(facts) if isinstance(facts, reasons.Shortage) else _full_share(facts)


def verdict(each: Consideration) -> str:
    """The planner's verdict on something it considered."""
    return each.verdict if isinstance(each.verdict, str) else message(each.verdict)


def _exclusion(facts: reasons.Exclusion) -> str:
    match facts:
        case reasons.NotSelected():
            return "not selected"
        case reasons.OtherModel():
            return f"its model is {facts.name or 'unknown'}, not {' or '.join(facts.models)}"
        case reasons.FilteredOut():
            return "filtered out by the configuration"
        case reasons.OtherUuid():
            return "its UUID is not among the requested ones"
        case reasons.OtherType():
            return f"its model is not {' or '.join(facts.types)}"
        case reasons.Avoided():  # pragma: no branch: mypy knows that no kind is left
            return f"its {facts.attribute} is on the pod's avoid list"


def _state(facts: reasons.State) -> str:
    match facts:
        case reasons.NotServed():
            return f"the driver does not serve this GPU: {facts.note}"
        case reasons.Unavailable():
            return facts.problem
        case reasons.NotMigCapable():
            return "this GPU has no MIG"
        case reasons.AwaitsReset():
            return f"a pending MIG mode change will leave it {'enabled' if facts.enabled else 'disabled'}"
        case reasons.ModeLags():
            return "MIG mode is still on" if facts.enabled else "MIG mode is not on yet"
        case reasons.WrongMode():
            return f"it is in mode {facts.configured}, but mode {facts.wanted} was requested"
        case reasons.ClientsRunning():
            return f"MIG is off and cannot be enabled while {', '.join(map(str, facts.clients))} use the GPU"
        case reasons.MigDisabled():
            return "MIG is off and --no-enable was given"
        case reasons.MemoryUnknown():  # pragma: no branch: mypy knows that no kind is left
            return "its total memory is unknown, so a percentage cannot be converted to MiB"


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
            return f"{facts.wanted} would overlap idle instances that hamid did not create: {names}"
        case reasons.NoFreePlacement():
            return f"no free placement for {facts.wanted}{_beside(facts.used)}"
        case reasons.NoFreeSlots():
            room = room_text(facts.free, facts.count, facts.used)
            return f"{facts.wanted}: template {format_geometry(facts.template)} {room}"
        case reasons.TemplateInUse():  # pragma: no branch: mypy knows that no kind is left
            needed = " or ".join(map(format_geometry, facts.needed))
            return f"{list_instances(facts.used)} in use fix its template; {facts.wanted} would need {needed}"


def _full_share(facts: reasons.FullShare) -> str:
    match facts:
        case reasons.TotalUnknown():
            return "its memory is unknown; set preconfigured_memory_mib"
        case reasons.SplitUsedUp():
            return f"it is shared by {facts.users} containers, the maximum that split_count allows"
        case reasons.MemoryTaken():
            return f"{facts.free_mib} of {facts.total_mib} MiB are free, {facts.wanted_mib} MiB were requested"
        case reasons.CoresTaken():
            cores = f"{facts.free_percent}% of {facts.total_percent}% cores"
            return f"{cores} are free, {facts.wanted_percent}% were requested"
        case reasons.CoresShared():
            return "all of its cores were requested, but other containers share it"
        case reasons.CoresPromised():  # pragma: no branch: mypy knows that no kind is left
            return "all of its cores are allocated"


def room_text(free: int, count: int, used: Iterable[Instance]) -> str:
    """How many of the requested instances a template can hold."""
    return f"holds {free} of {count}{_beside(used)}"


def list_instances(instances: Iterable[Instance]) -> str:
    """Instances as text: `2g.10gb@0, 1g.5gb@6`."""
    return ", ".join(f"{instance.profile}@{instance.placement.start}" for instance in instances)


def _beside(used: Iterable[Instance]) -> str:
    names = list_instances(used)
    return f" beside {names}" if names else ""
