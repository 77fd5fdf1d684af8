# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.narrow import exactly
from support.values import RESOURCE, claim, container, holding, owner, pod

from hamid.core.claims.claim import PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.which_container import (
    Again,
    Identified,
    Waiting,
    anonymous,
    folder_name,
    identifier,
    identify,
    is_folder_name,
    of_claim,
    seen_before,
    started_by,
)
from hamid.core.config.config import Ambiguity, Config
from hamid.core.planner.refusal import Ambiguous, InvalidPod, NoPodWaits, Refusal
from hamid.core.pods.pods import HoldingList, PodList

CONFIG = Config()
ASKED = ContainerRequest(count=1)
POD = pod("u", container("init", init=True), container("main"))
INIT, MAIN = POD.containers
NOTHING_HELD = HoldingList(complete=True)


def who(*pods, claims=(), ids=("GPU-1-0",), holdings=(), config=CONFIG):
    """Which container these ids are for."""
    return identify(
        PodList(pods=pods, complete=True), HoldingList(holdings=holdings, complete=True), claims, ids, config
    )


def named(found):
    found = exactly(Identified, found)
    return found.container and found.container.name


def test_an_identified_container_becomes_the_owner():
    """The owner has the pod's names, the place among its containers, what it asked, and a directory of its own."""
    found = Identified(pod=POD, container=MAIN, request=ASKED, sure=False)
    made = found.owner(resource=RESOURCE, device_ids=["GPU-1-0"], granted_at=3.0, boot_id="b", token="t")
    assert made == PodOwner(
        uid="u",
        namespace="ns",
        name="job",
        container="main",
        index=0,
        resource=RESOURCE,
        device_ids=("GPU-1-0",),
        request=ASKED,
        folder="u_main",
        sure=False,
        granted_at=3.0,
        boot_id="b",
    )


def test_an_unknown_container_gets_a_directory_by_its_token():
    """Without a pod, and for a uid that is no plain name, the directory is named by the token."""
    for found in (anonymous(CONFIG, 2), Identified(pod=replace(POD, uid="../x"), container=MAIN, request=ASKED)):
        made = found.owner(resource=RESOURCE, device_ids=[], granted_at=0.0, boot_id="b", token="t")
        assert made.folder == "unidentified-t"


@pytest.mark.parametrize(("memory", "asked"), [(0, None), (500, 500)])
def test_an_anonymous_container_gets_the_defaults(memory, asked):
    """A default of 0 MiB is all of the memory."""
    config = Config(default_memory_mib=memory, default_cores_percent=30)
    request = ContainerRequest(count=2, memory_mib=asked, cores_percent=30)
    assert anonymous(config, 2) == Identified(pod=None, container=None, request=request)


@pytest.mark.parametrize("known", [True, False])
def test_pods_count_only_where_there_is_a_source_of_them(known):
    """Without a source every container is anonymous, and nothing of the list is looked at."""
    run = identifier(lambda: CONFIG, known=lambda: known)
    found = exactly(Identified, run(PodList(pods=(POD,), complete=True), NOTHING_HELD, (), ["GPU-1-0"]))
    assert found == (who(POD) if known else anonymous(CONFIG, 1))


@pytest.mark.parametrize(
    ("claims", "holdings", "states", "name"),
    [
        ((), (), {}, "init"),
        ((claim(1, by=owner("u", "GPU-9-9", container="init")),), (), {}, "main"),
        ((), (holding("GPU-9-9", container="init"),), {}, "main"),
        ((), (), {"init": {"terminated": True}}, "main"),
        ((claim(1, by=owner("u", "GPU-1-0", container="init", confirmed=False)),), (), {}, "main"),
        (
            (claim(1, by=owner("u", "GPU-1-0", container="init", confirmed=False)),),
            (),
            {"init": {"restartable": True}},
            "init",
        ),
        ((claim(1, by=owner("u", "GPU-1-0", container="main", confirmed=False)),), (), {}, "main"),
        (
            (claim(1, by=owner("u", "GPU-1-0", container="init", confirmed=False)),),
            (),
            {"init": {"terminated": True}},
            "main",
        ),
    ],
)
def test_kubelet_goes_through_a_pod_in_order(claims, holdings, states, name):
    """The next container is the one after the last that got its devices; an init container's ids are handed on."""
    containers = tuple(replace(each, **states.get(each.name, {})) for each in POD.containers)
    assert named(who(replace(POD, containers=containers), claims=claims, holdings=holdings)) == name


@pytest.mark.parametrize(
    "changed",
    [
        {"deleted": True},
        {"phase": "Failed"},
        {"containers": (container("main", count=2),)},
        {"containers": (container("main", count=None),)},
        {"containers": (container("main", running=True),)},
    ],
)
def test_a_pod_that_waits_for_nothing_is_passed_over(changed):
    """Deleted and ended pods, another count, no count, and containers that run already do not wait for these ids."""
    assert exactly(Refusal, who(replace(POD, **changed))).facts == NoPodWaits(1, RESOURCE, "")


def test_a_request_that_cannot_be_read_is_refused():
    """The only pod that waits asks for nonsense, which the refusal tells."""
    bad = container("main", count=1)
    bad = replace(bad, limits={**bad.limits, CONFIG.resources.cores: "200"})
    facts = exactly(InvalidPod, exactly(Refusal, who(replace(POD, containers=(bad,)))).facts)
    assert facts.problem == "pod ns/job, container main: nvidia.com/gpucores is 200, not a number from 0 to 100"


ODD = replace(POD, uid="v", name="odd", created=9.0, annotations={"nvidia.com/gpucores": "x"})
OLD = replace(POD, uid="w", name="old", created=1.0, annotations={"nvidia.com/gpumem": "500"})
PART = replace(
    POD,
    uid="p",
    name="part",
    created=5.0,
    annotations={"nvidia.com/gpumem-percentage": "50", "nvidia.com/vgpu-mode": "mig"},
)


def test_containers_that_ask_for_different_things_are_named():
    """Refusing is the default, and each that waits is shown with what it asks."""
    facts = exactly(Ambiguous, exactly(Refusal, who(POD, ODD, OLD, PART)).facts)
    assert facts == Ambiguous(
        4,
        (
            ("ns/job/init", "all memory, 0 % of the cores"),
            (
                "ns/odd/init",
                "pod ns/odd, container init: nvidia.com/gpucores: 'x' is not a quantity such as 4096 or 4Ki",
            ),
            ("ns/old/init", "500 MiB, 0 % of the cores"),
            ("ns/part/init", "50 % of the memory, 0 % of the cores, mode mig"),
        ),
    )


@pytest.mark.parametrize(("rule", "name"), [(Ambiguity.OLDEST, "old"), (Ambiguity.NEWEST, "part")])
def test_the_configuration_may_choose_by_age(rule, name):
    """The oldest or the newest pod is taken, and the answer says that it is not sure."""
    found = exactly(Identified, who(PART, OLD, config=Config(on_ambiguity=rule)))
    assert (found.pod and found.pod.name, found.sure) == (name, False)


def test_a_waiting_container_is_named_by_namespace_pod_and_container():
    """The text of one that waits is what a refusal shows."""
    assert str(Waiting(pod=POD, container=MAIN, request=ASKED)) == "ns/job/main"


FOUND = Identified(pod=POD, container=MAIN, request=ASKED)


@pytest.mark.parametrize(
    ("by", "identified", "again"),
    [
        (owner("u", "GPU-1-0", confirmed=False), FOUND, Again.REPEAT),
        (owner("u", "GPU-1-0"), FOUND, None),
        (owner("u", "GPU-1-0", container="init"), FOUND, Again.HAND_ON),
        (owner("u", "GPU-1-0", container="init", request=ContainerRequest(count=2)), FOUND, None),
        (owner("u", "GPU-1-0", container="gone"), FOUND, None),
        (owner("x", "GPU-1-0", container="init"), FOUND, None),
        (owner("u", "GPU-1-1", confirmed=False), FOUND, None),
        (owner("u", "GPU-1-0", confirmed=False, resource="other/gpu"), FOUND, None),
        (owner("", "GPU-1-0", confirmed=False), anonymous(CONFIG, 1), Again.REPEAT),
        (owner("u", "GPU-1-0", confirmed=False), anonymous(CONFIG, 1), None),
    ],
)
def test_whether_a_call_was_answered_before(by, identified, again):
    """The same container before its confirmation repeats, the next one of its pod inherits, all else is new."""
    known = claim(1, by=by)
    expected = None if again is None else (again, known)
    operators = claim(2)
    found = seen_before([operators, known], identified, resource=RESOURCE, device_ids=["GPU-1-0"])
    assert found == expected
    pending = replace(known, pending=True)
    assert seen_before([pending], identified, resource=RESOURCE, device_ids=["GPU-1-0"]) is None


def test_a_sidecar_hands_nothing_on():
    """An init container that goes on beside the others keeps its devices."""
    sidecar = replace(POD, containers=(replace(INIT, restartable=True), MAIN))
    known = claim(1, by=owner("u", "GPU-1-0", container="init"))
    found = Identified(pod=sidecar, container=MAIN, request=ASKED)
    assert seen_before([known], found, resource=RESOURCE, device_ids=["GPU-1-0"]) is None


@pytest.mark.parametrize(
    ("ids", "started"),
    [(["a", "b"], [3]), (["b", "a"], [3]), (["a"], [1, 3]), (["c"], [5]), (["x"], [])],
)
def test_a_start_belongs_to_the_claim_that_got_the_ids_last(ids, started):
    """With exactly these ids the newest claim counts, else every claim with one of them; pending ones never."""
    claims = [
        claim(1, by=owner("u", "a", "b")),
        claim(3, by=owner("v", "b", "a")),
        claim(4, by=owner("w", "a", "b"), pending=True),
        claim(5, by=owner("x", "c", "d")),
        claim(6),
    ]
    assert [each.id for each in started_by(claims, ids)] == started
    assert [each.id for each in of_claim(claims, ids)] == [
        each.id for each in claims if each.owner and set(ids) & set(each.owner.device_ids)
    ]


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_directory_never_leads_out_of_its_place(uid, name):
    """The name is what was asked for or nothing, and never one with a slash or a dot in front."""
    found = folder_name(uid, name)
    assert found in {"", f"{uid}_{name}"}
    assert not found or (is_folder_name(found) and "/" not in found and not found.startswith("."))
    assert folder_name("0f3a", "main") == "0f3a_main"
