# SPDX-License-Identifier: Apache-2.0
from typing import get_args

import pytest

from hamid.core.claims.failure import CODES, refusal_of
from hamid.core.claims.pod_text import for_pod
from hamid.core.errors import HamiError, InUse, LedgerFailed, LibraryMissing, NvmlFailed
from hamid.core.hardware.gpu import Health, Holder, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.planner import reasons, refusal
from hamid.core.planner.reasons import Reason
from hamid.core.planner.refusal import Refusal, RefusalCode
from hamid.core.planner.refusal_text import hint, message

USED = (
    Instance(
        profile="2g.10gb",
        profile_id=14,
        memory_mib=9856,
        placement=Placement(start=0, size=2),
        gi_id=1,
        used=True,
    ),
)
REASONS = [
    reasons.NotSelected(),
    reasons.OtherModel(("A30", "H100"), None),
    reasons.FilteredOut(),
    reasons.OtherUuid(),
    reasons.OtherType(("A30",)),
    reasons.Avoided("uuid"),
    reasons.NotServed(Health.LOST, "it fell off the bus"),
    reasons.Unavailable("it failed a moment ago"),
    reasons.NotMigCapable(),
    reasons.AwaitsReset(enabled=True),
    reasons.ModeLags(enabled=False),
    reasons.WrongMode("mig", "hami-core"),
    reasons.ClientsRunning((Holder(7, "python3"),)),
    reasons.MigDisabled(),
    reasons.MemoryUnknown(),
    reasons.NoTemplates(None, "device-config.yaml"),
    reasons.UnknownProfile("9g.9gb", ("1g.5gb",)),
    reasons.NoProfileThatLarge("90000 MiB", 40192),
    reasons.NoTemplateThatLarge("2 x 90000 MiB", 40192),
    reasons.IdleInTheWay("1 x 8000 MiB", USED),
    reasons.NoFreePlacement("1 x 8000 MiB", USED),
    reasons.NoFreeSlots("3 x 8000 MiB", {"2g.10gb": 3}, 2, 3, USED),
    reasons.TemplateInUse("1 x 20000 MiB", USED, ({"3g.20gb": 2},)),
    reasons.TotalUnknown(),
    reasons.SplitUsedUp(10),
    reasons.MemoryTaken(100, 40960, 8000),
    reasons.CoresTaken(10, 100, 30),
    reasons.CoresShared(),
    reasons.CoresPromised(),
]
REFUSALS = [
    refusal.NoInstances("1 x 8000 MiB"),
    refusal.NoShares(2, "8000 MiB", 1),
    refusal.NoGpu(),
    refusal.NoKind((Refusal(facts=refusal.NoGpu()), Refusal(facts=refusal.NoShares(1, "8000 MiB", 1)))),
    refusal.RepeatedDevice(),
    refusal.UnknownDevice("GPU-1-0"),
    refusal.PodsUnknown("401"),
    refusal.NoPodWaits(1, "nvidia.com/gpu", ""),
    refusal.InvalidPod("nvidia.com/gpumem is x, not a number"),
    refusal.Ambiguous(2, (("ns/a/main", "8000 MiB"), ("ns/b/main", "all memory"))),
    refusal.NotReady(ending=False, problems=()),
    refusal.LedgerUncertain(""),
    refusal.NoGrantKept("ns/a/main"),
    refusal.NoClaim(),
    refusal.GrantLost(("MIG-1",), (("2g.10gb@0", "MIG-2"),)),
    refusal.Failed(RefusalCode.DRIVER, "nvmlDeviceGetCount failed", "see dmesg"),
]


def classes_below(kind):
    return {each for one in kind.__subclasses__() for each in (one, *classes_below(one))}


def test_every_error_has_a_refusal_code_of_its_own_row():
    """Each class of error that hamid ships has a row, so that a new class is a decision and no accident."""
    ours = {each for each in classes_below(HamiError) if each.__module__.startswith("hamid.core")}
    assert {HamiError, *ours} == set(CODES)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InUse("used"), RefusalCode.DRIVER),
        (NvmlFailed("nvmlInit", 999, "unknown"), RefusalCode.DRIVER),
        (LedgerFailed("full"), RefusalCode.LEDGER),
        (LibraryMissing("none", "hamictl lib sync"), RefusalCode.LIBRARY),
    ],
)
def test_an_error_keeps_its_words_in_the_refusal(error, code):
    """What is refused because of an error has the error's message and hint, and its class's code."""
    found = refusal_of(error)
    assert found.code is code
    assert (for_pod(found).message, for_pod(found).hint) == (error.message, error.hint)


def test_what_is_no_error_of_ours_is_raised():
    """A defect never becomes a refusal."""
    with pytest.raises(ZeroDivisionError):
        refusal_of(ZeroDivisionError())


def test_the_lists_of_kinds_are_complete():
    """The kinds that the next tests go through are all that there are."""
    assert {type(each) for each in REASONS} == set(get_args(reasons.GpuFacts))
    assert {type(each) for each in REFUSALS} == {*get_args(refusal.PlainFacts), refusal.NoKind}


@pytest.mark.parametrize("facts", REASONS, ids=lambda facts: type(facts).__name__)
def test_every_reason_says_something_to_operator_and_pod(facts):
    """Both renderers have words for every kind of reason, and name the GPU to a pod."""
    reason = Reason(gpu=3, facts=facts)
    assert message(facts)
    assert isinstance(hint(reason), str)
    (text,) = for_pod(Refusal(facts=refusal.NoInstances("1 x 8000 MiB"), reasons=(reason,))).reasons
    assert text.startswith("GPU 3: ")


@pytest.mark.parametrize("facts", REFUSALS, ids=lambda facts: type(facts).__name__)
def test_every_refusal_says_something_to_a_pod(facts):
    """Every kind of refusal has a code and a message."""
    found = Refusal(facts=facts)
    assert found.code in set(RefusalCode)
    assert for_pod(found).message


def test_a_pod_is_told_nothing_about_options_of_the_command_line():
    """A pod cannot give an option: no advice on missing room names one, except the command that reclaims."""
    for facts in (each for each in REASONS if isinstance(each, reasons.Shortage)):
        text = for_pod(Refusal(facts=refusal.NoInstances("1 x 8000 MiB"), reasons=(Reason(gpu=0, facts=facts),)))
        assert " --" not in text.hint.replace("hamictl mig repair --reclaim-idle", "")


def test_a_refusal_by_both_kinds_joins_what_each_said():
    """The first kind that was tried gives the advice; reasons of both follow."""
    taken = Reason(gpu=1, facts=reasons.SplitUsedUp(10))
    shares = Refusal(facts=refusal.NoShares(1, "8000 MiB", 1), reasons=(taken,))
    text = for_pod(Refusal(facts=refusal.NoKind((Refusal(facts=refusal.NoGpu()), shares))))
    assert text.message == "no GPU of this node can serve the request; no 1 GPU with room for 8000 MiB"
    assert text.hint == "see hamictl gpu list and hamictl config show"
    assert text.reasons == ("GPU 1: it is shared by 10 containers, the maximum that split_count allows",)
