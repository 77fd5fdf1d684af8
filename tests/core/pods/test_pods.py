# SPDX-License-Identifier: Apache-2.0
"""What containers request, which of them waits, and lists of pods that may be wrong."""

import json
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.narrow import exactly, present

from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.container_request import ContainerRequest, InvalidRequest, read_request
from hamid.core.claims.pod_text import for_pod
from hamid.core.claims.which_container import Identified, identify
from hamid.core.config.config import Ambiguity, Config, Mode
from hamid.core.planner.refusal import Refusal, RefusalCode
from hamid.core.pods.pod_list import decode_pods
from hamid.core.pods.pods import Container, Holding, HoldingList, Pod, PodList
from hamid.core.pods.quantity import parse, whole

RESOURCE = "nvidia.com/gpu"
CONFIG = Config()
NO_HOLDINGS = HoldingList(complete=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=30,
)


def container(name="main", *, count="1", memory=None, **fields):
    limits = {RESOURCE: count, **({"nvidia.com/gpumem": memory} if memory else {})}
    return Container(name=name, limits=limits, **fields)


def pod(name, *containers, created=0.0, **fields):
    made = containers or (container(),)
    defaults = {"uid": f"uid-{name}", "namespace": "ns", "name": name, "phase": "Pending", "created": created}
    return Pod(containers=made, **{**defaults, **fields})


def asked(*about):
    """The request of a container that asks for something sensible."""
    return exactly(ContainerRequest, read_request(*about))


def owner(name, container="main", *, ids=("a",), confirmed=True):
    return PodOwner(
        uid=f"uid-{name}",
        namespace="ns",
        name=name,
        container=container,
        resource=RESOURCE,
        device_ids=ids,
        request=ContainerRequest(count=len(ids)),
        confirmed=confirmed,
        granted_at=1.0,
        boot_id="boot",
    )


def who(*pods, ids=("a",), claims=(), holdings=(), complete=True, refused=(), **config):
    """The container that an Allocate of these ids is for."""
    claimed = [Claim(id=number, owner=each) for number, each in enumerate(claims)]
    found = identify(
        PodList(pods=pods, complete=complete, refused=frozenset(f"uid-{each}" for each in refused)),
        HoldingList(holdings=holdings, complete=True),
        claimed,
        ids,
        replace(CONFIG, **config),
    )
    return (present(found.pod).name, present(found.container).name) if isinstance(found, Identified) else found.code


def test_who_was_refused_stands_in_nobodys_way_and_is_meant_when_nobody_else_waits():
    """Kubelet lists a refused pod as waiting for a while, and repeats the call only after its own restart."""
    first, second = pod("first", container(memory="8000")), pod("second", container(memory="4000"), created=1.0)
    assert who(first, second) == RefusalCode.AMBIGUOUS
    assert who(first, second, refused=("first",)) == ("second", "main")
    assert who(first, refused=("first",)) == ("first", "main")
    assert who(first, second, refused=("first", "second")) == RefusalCode.AMBIGUOUS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1Ki", 1024),
        ("2k", 2000),
        ("1e3", 1000),
        ("1.5Gi", 3 * 2**29),
        ("500m", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("-1", -1),
        ("12E", 12 * 10**18),
        ("1E2", 100),
    ],
)
def test_quantities_are_exact(text, value):
    """Every form that apimachinery writes has its very value."""
    assert parse(text) == value


def test_a_part_of_a_whole_is_rounded_up():
    """As Quantity.Value() does: half a device is one."""
    assert whole("500m") == 1


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser_of_quantities(text):
    """Any text has a value or is refused with ValueError."""
    with suppress(ValueError):
        assert isinstance(parse(text), Fraction)


def test_limits_come_before_annotations_and_both_before_defaults():
    """The same name is looked up in the container, then in its pod, then in the configuration."""
    config = replace(CONFIG, default_memory_mib=300, default_cores_percent=7)
    annotations = {"nvidia.com/gpumem": "200", "nvidia.com/gpucores": "30"}
    assert asked(pod("a", annotations=annotations), container(memory="100"), config).memory_mib == 100
    assert asked(pod("a", annotations=annotations), container(), config).memory_mib == 200
    assert asked(pod("a", annotations=annotations), container(), config).cores_percent == 30
    assert read_request(pod("a"), container(), config) == ContainerRequest(count=1, memory_mib=300, cores_percent=7)


def test_memory_in_mib_comes_before_percent_and_is_multiplied():
    """HAMi's order: gpumem, then gpumem-percentage, then the default; memoryFactor goes with gpumem alone."""
    limits = {RESOURCE: "1", "nvidia.com/gpumem": "10", "nvidia.com/gpumem-percentage": "50"}
    both = Container(name="c", limits=limits)
    config = replace(CONFIG, memory_factor=1024)
    assert asked(pod("a"), both, config).memory_mib == 10240
    percent = replace(both, limits={RESOURCE: "1", "nvidia.com/gpumem-percentage": "50"})
    assert read_request(pod("a"), percent, config) == ContainerRequest(count=1, memory_percent=50)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("nvidia.com/gpumem", "lots"),
        ("nvidia.com/gpumem", "-1"),
        ("nvidia.com/gpumem", "4Ti"),
        ("nvidia.com/gpucores", "101"),
        ("nvidia.com/priority", "2"),
        ("nvidia.com/vgpu-mode", "turbo"),
    ],
)
def test_what_makes_no_sense_is_named(key, text):
    """A value out of bounds is refused with pod, container and key, never read as something else."""
    found = read_request(pod("a", annotations={key: text}), container(), CONFIG)
    assert isinstance(found, InvalidRequest)
    assert key in found.text
    assert "ns/a" in found.text


def test_annotations_select_gpus_and_mode():
    """HAMi's annotations reach the request."""
    annotations = {
        "nvidia.com/use-gputype": "A100, H100",
        "nvidia.com/nouse-gpuuuid": "GPU-1",
        "nvidia.com/vgpu-mode": "mig",
    }
    found = asked(pod("a", annotations=annotations), container(), CONFIG)
    assert (found.use_types, found.avoid_uuids, found.mode) == (("A100", "H100"), ("GPU-1",), Mode.MIG)


def test_the_only_one_that_waits_is_it():
    """Pods that are over, that are being deleted, that run or ask for another number do not count."""
    others = (
        pod("over", phase="Succeeded"),
        pod("going", deleted=True),
        pod("runs", container(running=True), phase="Running"),
        pod("two", container(count="2")),
        pod("none", Container(name="main")),
        pod("has"),
        pod("holds"),
    )
    held = Holding(namespace="ns", pod="holds", container="main", resource=RESOURCE, device_ids=("h",))
    claims = [owner("has", ids=("z",))]
    assert who(*others, pod("it"), claims=claims, holdings=(held,)) == ("it", "main")
    assert who(*others, claims=claims, holdings=(held,)) is RefusalCode.NO_POD


def test_an_init_containers_ids_again_are_for_the_next_container_that_asks_for_as_many():
    """Within one admission kubelet gives them on before anything is confirmed; those of the last are a repeat."""
    it = pod("a", container("init", init=True), container("next", init=True), container(), container("two", count="2"))
    for before, asks in (("init", "next"), ("next", "main"), ("main", "main")):
        assert who(it, claims=[owner("a", before, confirmed=False)]) == ("a", asks)
    both = [owner("a", "next", confirmed=False), owner("a", "main", ids=("b",), confirmed=False)]
    assert who(it, ids=("b",), claims=both) == ("a", "main")
    two = pod("d", container("one"), container("other"))
    each = [owner("d", "one", confirmed=False), owner("d", "other", ids=("b",), confirmed=False)]
    assert who(two, claims=each) == ("d", "one")
    assert who(two, ids=("c",), claims=each) is RefusalCode.NO_POD
    alone = pod("b", container("init", init=True), container("two", count="2"))
    assert who(alone, claims=[owner("b", "init", confirmed=False)]) == ("b", "init")
    sidecar = pod("c", container("side", init=True, restartable=True), container())
    assert who(sidecar, claims=[owner("c", "side", confirmed=False)]) == ("c", "side")


def test_equal_pods_are_interchangeable_and_different_ones_are_not_guessed():
    """Among equal requests the oldest is taken until kubelet tells; among different ones none, unless configured."""
    first, second = pod("a", created=2.0), pod("b", created=1.0)
    assert who(first, second) == ("b", "main")
    larger = pod("c", container(memory="100"), created=0.5)
    assert who(first, second, larger) is RefusalCode.AMBIGUOUS
    assert who(first, second, larger, on_ambiguity=Ambiguity.OLDEST) == ("c", "main")
    assert who(first, second, larger, on_ambiguity=Ambiguity.NEWEST) == ("a", "main")
    assert who(first, second, on_ambiguity=Ambiguity.NEWEST) == ("b", "main")


def test_a_pod_is_gone_through_in_kubelets_order():
    """Init containers come first, one after the other; what is not its turn is no candidate."""
    containers = (container("init", init=True), container("app"), container("two", count="2"))
    it = pod("a", *containers)
    assert who(it) == ("a", "init")
    assert who(it, claims=[owner("a", "init")]) == ("a", "app")
    assert who(it, ids=("x", "y"), claims=[owner("a", "init")]) is RefusalCode.NO_POD
    assert who(it, ids=("x", "y"), claims=[owner("a", "init"), owner("a", "app")]) == ("a", "two")


def test_the_same_ids_again_are_the_same_container_until_confirmed():
    """A lost answer is asked for again; a container that kubelet confirmed never is."""
    it = pod("a")
    assert who(it, claims=[owner("a", confirmed=False)]) == ("a", "main")
    assert who(it, claims=[owner("a", confirmed=True)]) is RefusalCode.NO_POD
    assert who(it, ids=("other",), claims=[owner("a", confirmed=False)]) is RefusalCode.NO_POD


def test_without_any_list_nobody_is_identified():
    """A source that does not answer is named in the refusal."""
    found = identify(PodList(complete=False, problem="kubelet answered 403"), NO_HOLDINGS, (), ("a",), CONFIG)
    assert isinstance(found, Refusal)
    assert "403" in for_pod(found).message


def test_a_lone_bad_request_is_refused_as_such():
    """The refusal names the pod's own mistake, not a missing pod."""
    assert who(pod("a", container(memory="x"))) is RefusalCode.BAD_REQUEST


def listed(*items):
    return json.dumps({"kind": "PodList", "items": list(items)}).encode()


GOOD = {
    "metadata": {"uid": "u", "name": "p", "namespace": "n", "creationTimestamp": "1970-01-01T00:00:09Z"},
    "spec": {
        "initContainers": [{"name": "i", "restartPolicy": "Always"}],
        "containers": [
            {"name": "c", "resources": {"limits": {RESOURCE: 2}}, "env": [{"name": "A"}, {"name": "B", "value": "1"}]}
        ],
    },
    "status": {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}}]},
}


def test_a_list_of_pods_is_read():
    """Containers in kubelet's order with limits as text, literal variables, states and times."""
    found = decode_pods(listed(GOOD))
    assert found.complete
    assert found.pods[0] == Pod(
        uid="u",
        namespace="n",
        name="p",
        phase="Running",
        created=9.0,
        containers=(
            Container(name="i", init=True, restartable=True),
            Container(name="c", limits={RESOURCE: "2"}, env={"B": "1"}, running=True, terminated=False),
        ),
    )


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[1", b"\xff", b'"pods"', b"[" * 100_000, b'{"items": 3}'])
def test_what_is_no_list_says_so(data):
    """The list is not used, and no pod counts as gone."""
    found = decode_pods(data)
    assert not found.complete
    assert found.pods == ()
    assert found.problem


def test_one_bad_pod_spoils_completeness_alone():
    """The others are there, and the problem names the bad one."""
    found = decode_pods(listed(GOOD, {"metadata": {"uid": 7}}))
    assert [each.name for each in found.pods] == ["p"]
    assert not found.complete
    assert found.problem.startswith("pod 1")


def test_a_kubelet_without_pods_says_null():
    """An empty list is an answer."""
    assert decode_pods(b'{"kind": "PodList", "items": null}') == PodList(complete=True)


@given(st.lists(JSON, max_size=4))
def test_any_json_is_read_or_refused(items):
    """No shape of a pod raises."""
    assert len(decode_pods(listed(*items)).pods) <= len(items)


def test_a_containers_place_counts_app_containers_alone():
    """HAMi numbers the containers of a pod without its init containers, which have no place."""
    found = pod("job", container("init", init=True), container("a"), container("b"))
    assert [found.index_of(name) for name in ("init", "a", "b", "c")] == [None, 0, 1, None]
