# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.values import claim, claimed_seat, gpu, instance, mig_uuid, own, owner, share

from hamid.core.claims.claim import (
    ClaimStatus,
    LedgerFacts,
    claimed,
    instance_at,
    merge,
    merge_gpu,
    missing,
    operator_name,
    seat_of,
    status_of,
    users,
)
from hamid.core.errors import UsageError
from hamid.core.hardware.gpu import Holder
from hamid.core.hardware.profile import Placement
from hamid.core.hardware.snapshot import Snapshot

GPU = gpu(("1g.5gb", 0), ("2g.10gb", 2))
SMALL, LARGE = GPU.instances
SEAT = seat_of(GPU, SMALL)
FACTS = LedgerFacts(
    own=(own(GPU, SMALL), own(GPU, LARGE)),
    claims=(
        claim(1, claimed_seat(GPU, "1g.5gb", 0)),
        claim(2, claimed_seat(GPU, "2g.10gb", 2), by=owner("u", "GPU-0-1")),
    ),
)


@given(
    st.text(st.characters(codec="ascii"), max_size=110) | st.from_regex(r"[a-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
)
def test_an_operators_name_is_plain_or_refused(name):
    """A name is taken as it is when it has only safe characters and starts with a letter or digit, else refused."""
    plain = 0 < len(name) <= 100 and all(c.isalnum() or c in "._-" for c in name) and name[0].isalnum()
    if plain:
        assert operator_name(name) == name
    else:
        with pytest.raises(UsageError, match="is not a valid claim name"):
            operator_name(name)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (claim(1), "claim1"),
        (claim(2, by=owner()), "ns/job/main:2"),
        (claim(3, by=owner(name="")), "ns/u/main:3"),
        (claim(4, by=owner("", name="")), "unidentified:4"),
    ],
)
def test_a_claim_is_called_by_its_owner_and_id(found, name):
    """A container's claim shows pod and id, so that it never has the name of another claim or of an operator's."""
    assert found.name == name
    if found.owner is not None:
        with pytest.raises(UsageError):
            operator_name(name)


def test_an_owner_that_is_not_known_says_so():
    """Without a pod's uid the owner is unknown, and its text names no pod."""
    assert owner().known
    assert not owner("", name="").known
    assert str(owner("", name="")) == "an unknown container"


def test_a_claim_keeps_every_directory_that_its_containers_had():
    """The directories of init containers that had the claim before come first, the present one last."""
    assert owner(earlier=("a", "b"), folder="c").folders == ("a", "b", "c")


def test_a_claim_names_each_gpu_once():
    """The GPUs of a claim are those of its seats and shares, without repetition."""
    other = gpu(index=1)
    both = claim(1, claimed_seat(GPU, "1g.5gb", 0), claimed_seat(GPU, "1g.5gb", 1), share(other, 100))
    assert both.gpu_uuids == (GPU.uuid, other.uuid)


def test_a_claimed_seat_lies_where_its_instance_does():
    """The placement of a claimed seat is that of the instance that was made for it."""
    assert claimed_seat(GPU, "2g.10gb", 2).placement == LARGE.placement == Placement(start=2, size=2)


def test_the_ledgers_claims_are_found_by_seat_and_by_id():
    """A seat names the claim that holds it, an id names its claim, and a claim that is left out is in neither."""
    first, second = FACTS.claims
    assert FACTS.claim_on(SEAT) == "claim1"
    assert FACTS.claim_at(SEAT) is first
    assert [FACTS.claim(number) for number in (1, 2, 3, None)] == [first, second, None, None]
    rest = FACTS.without(1)
    assert rest.claims == (second,)
    assert rest.claim_on(SEAT) == ""
    assert FACTS.without(None) == FACTS


@pytest.mark.parametrize(
    ("facts", "certain"),
    [
        (FACTS, True),
        (replace(FACTS, trusted=False), False),
        (replace(FACTS, unexplained=frozenset({SEAT})), False),
        (replace(FACTS, adopting="the ledger was lost"), False),
    ],
)
def test_the_ledger_is_certain_only_when_everything_is_explained(facts, certain):
    """One doubt is enough: an unreadable ledger, an unexplained instance, or an adoption that goes on."""
    assert facts.certain is certain


def test_instances_are_found_on_their_seats():
    """Every instance of a GPU lies on its own seat, and no instance on the seat of another GPU."""
    for each in GPU.instances:
        assert instance_at(GPU, seat_of(GPU, each)) is each
    assert instance_at(gpu(("1g.5gb", 0), index=1), SEAT) is None


@pytest.mark.parametrize(
    ("facts", "generation", "name", "used"),
    [
        (LedgerFacts(), 0, "", False),
        (LedgerFacts(own=(own(GPU, SMALL),)), 1, "", False),
        (LedgerFacts(own=(own(GPU, SMALL, mig_uuid="MIG-other"),)), 0, "", False),
        (LedgerFacts(own=(own(GPU, SMALL, mig_uuid=None),)), 1, "", False),
        (LedgerFacts(claims=FACTS.claims), 0, "claim1", True),
        (LedgerFacts(unexplained=frozenset({SEAT})), 0, "", True),
        (LedgerFacts(trusted=False), 0, "", True),
    ],
)
def test_the_ledger_says_whose_an_instance_is(facts, generation, name, used):
    """An instance is ours only under its own MIG UUID, and used when it is claimed or when the ledger has a doubt."""
    (found, *_) = merge_gpu(GPU, facts).instances
    assert (found.generation, found.claim, found.used) == (generation, name, used)


def test_a_snapshot_gets_the_ledgers_warnings_and_every_gpu_its_facts():
    """Merging keeps the snapshot's own warnings, adds the ledger's, and merges each GPU by itself."""
    other = gpu(("1g.5gb", 0), index=1)
    facts = replace(FACTS, warnings=("from the ledger",))
    found = merge(Snapshot(gpus=(GPU, other), warnings=("from NVML",)), facts)
    assert found.gpus == (merge_gpu(GPU, facts), merge_gpu(other, facts))
    assert found.warnings == ("from NVML", "from the ledger")


@given(st.lists(st.sampled_from(range(6)), unique=True), st.lists(st.sampled_from(range(6)), unique=True))
def test_equal_facts_of_a_gpu_give_an_equal_gpu(before, after):
    """Where the ledger says the same of a GPU, merging gives the same GPU, so a cache by that value is safe."""
    rows: list[dict[str, object]] = [
        {"own": (own(GPU, SMALL),)},
        {"own": (own(GPU, SMALL), own(GPU, LARGE))},
        {"claims": FACTS.claims},
        {"claims": (claim(9, share(GPU, 5)),)},
        {"unexplained": frozenset({SEAT})},
        {"trusted": False},
    ]

    def facts(chosen):
        merged: dict[str, object] = {}
        for number in chosen:
            merged |= rows[number]
        return replace(LedgerFacts(), **merged)

    one, two = facts(before), facts(after)
    if one.on_gpu(GPU.uuid) == two.on_gpu(GPU.uuid):
        assert merge_gpu(GPU, one) == merge_gpu(GPU, two)
    assert one.on_gpu("GPU-other") == (one.trusted,)


@pytest.mark.parametrize(
    ("found", "facts", "words"),
    [
        (SMALL, LedgerFacts(), ""),
        (replace(SMALL, holders=(Holder(7, "job"),)), LedgerFacts(), "job(7)"),
        (replace(SMALL, holders=(Holder(7, "job"),)), FACTS, "job(7), claim 'claim1'"),
        (
            SMALL,
            LedgerFacts(unexplained=frozenset({SEAT})),
            "an unknown holder: the ledger was lost, see hamictl mig repair",
        ),
        (replace(SMALL, used=True), LedgerFacts(), "an unknown holder"),
        (SMALL, LedgerFacts(trusted=False), "an unknown holder"),
    ],
)
def test_what_keeps_an_instance_is_said_in_words(found, facts, words):
    """Processes, the claim and a doubt are named; an idle, explained instance has nothing that keeps it."""
    assert users(found, facts, SEAT) == words


def test_an_instance_of_ours_is_missing_when_it_is_gone_or_another_lies_there():
    """The same seat under another MIG UUID counts as missing, one whose UUID is not known does not."""
    assert missing([GPU], FACTS) == []
    assert missing([], FACTS) == list(FACTS.own)
    another = replace(GPU, instances=(replace(SMALL, mig_uuid="MIG-other"), LARGE))
    assert missing([another], FACTS) == [FACTS.own[0]]
    nameless = replace(GPU, instances=(replace(SMALL, mig_uuid=None), LARGE))
    assert missing([nameless], FACTS) == []


def test_every_claimed_seat_is_told_with_what_lies_there():
    """A seat on a GPU that is gone, or where nothing lies, comes without an instance."""
    gone = gpu(index=1)
    claims = (*FACTS.claims, claim(3, claimed_seat(gone, "1g.5gb", 0), claimed_seat(GPU, "1g.5gb", 6)))
    found = [(name, seat.seat.start, there and there.mig_uuid) for name, seat, there in claimed([GPU], claims)]
    assert found == [
        ("claim1", 0, mig_uuid(GPU, "1g.5gb", 0)),
        ("ns/job/main:2", 2, mig_uuid(GPU, "2g.10gb", 2)),
        ("claim3", 0, None),
        ("claim3", 6, None),
    ]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (claim(1), ClaimStatus.OPERATOR),
        (claim(1, by=owner(), pending=True), ClaimStatus.PENDING),
        (claim(1, by=owner()), ClaimStatus.CONFIRMED),
        (claim(1, by=owner(confirmed=False)), ClaimStatus.PROVISIONAL),
    ],
)
def test_how_sure_a_claims_holder_is(found, status):
    """A container's claim is pending, then provisional, then confirmed by kubelet; an operator's is none of these."""
    assert status_of(found) is status


def test_the_builders_agree_with_the_driver():
    """The instance that a test builds has the profile's own memory and a legal placement."""
    made = instance(GPU, "3g.20gb", 4)
    profile = next(each for each in GPU.profiles if each.name == "3g.20gb")
    assert made.memory_mib == profile.memory_mib
    assert made.placement in profile.placements
