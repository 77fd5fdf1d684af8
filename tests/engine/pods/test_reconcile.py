# SPDX-License-Identifier: Apache-2.0
"""Who keeps and who loses a claim: pods that go, lists that lie, reboots, starts of containers."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from support.nodes import World, grant, ids, names, remember

from hamid.core.claims.grant import Grant
from hamid.core.pods.pods import HoldingList


def test_lists_that_lack_something_release_nothing(make_node):
    """Empty and partial lists for 60 s: nothing goes; two complete ones 30 s apart release, nearer ones do not."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    grant(node, world, "b")
    node.reconcile()
    known, held = dict(world.known), list(world.held)
    world.complete = False
    for kept in ({}, {"b": known["b"]}):
        world.known, world.held = kept, []
        for _ in range(13):
            world.now += 5
            node.reconcile()
    assert names(node) == ["a", "b"]
    world.complete = True
    world.held = held[1:]
    for _ in range(6):
        node.reconcile()
        world.now += 4.9
    assert names(node) == ["a", "b"]
    world.now += 1
    node.reconcile()
    assert names(node) == ["b"]
    world.remove("b")
    node.reconcile()
    world.now += 31
    node.reconcile()
    assert names(node) == []
    assert node.scene.instances() == []


def test_a_provisional_identity_is_corrected_by_the_ids(make_node):
    """Two pods that ask for the same are told apart when kubelet says who holds which ids; releases go by that."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    pod_a, pod_b = world.add("a"), world.add("b")
    main = pod_a.containers[0]
    first, second = ids(node, 2)
    world.asking = (pod_a, main)
    node.allocate([first])
    world.asking = (pod_b, main)
    other = node.allocate([second])
    # It was the other way round.
    world.hold("b", [first])
    world.hold("a", [second])
    node.reconcile()
    assert {claim.owner.name: claim.owner.device_ids for claim in node.view.claims} == {"a": (second,), "b": (first,)}
    assert all(claim.owner.confirmed for claim in node.view.claims)
    world.end("b")
    node.reconcile()
    (instance,) = node.view.snapshot.gpus[0].instances
    assert instance.mig_uuid == other.envs["NVIDIA_VISIBLE_DEVICES"]
    assert instance.claim.startswith("default/a/main:")


@pytest.mark.parametrize("told", ["nothing", "checkpoint"])
def test_of_two_that_may_be_each_other_none_goes_before_kubelet_tells(make_node, told):
    """Two equal pods asked at once: when one ends its claim may be the other's, until both end or kubelet tells."""
    world = World()
    world.sure = False
    node = make_node("1xA100-SXM4-40GB", world=world)
    outcomes = {}
    for name in "ab":
        world.add(name)
        chosen = ids(node)
        outcomes[name] = (chosen, node.allocate(chosen))
    # Kubelet's list of holdings cannot be had.
    world.end("a")
    world.held_complete = False
    node.reconcile()
    assert names(node) == ["a", "b"]
    if told == "checkpoint":
        # It was the other way round.
        remember(node.scene, ("uid-b", "main", *outcomes["a"]), ("uid-a", "main", *outcomes["b"]))
        pass_time(world, node, 15)
        assert names(node) == ["b"]
        (instance,) = node.view.snapshot.gpus[0].instances
        assert instance.mig_uuid == outcomes["a"][1].envs["NVIDIA_VISIBLE_DEVICES"]
    else:
        world.end("b")
        node.reconcile()
        assert names(node) == []


def anonymous_grant(make_node, spec="1xA100-SXM4-40GB"):
    """A node without a source of pods, and one claim of an unknown container."""
    world = World()
    world.silent = True
    node = make_node(spec, world=world)
    chosen = ids(node)
    outcome = node.allocate(chosen)
    assert isinstance(outcome, Grant)
    assert node.view.claims[0].name.startswith("unidentified:")
    return world, node, chosen, outcome


def pass_time(world, node, seconds=60):
    for _ in range(seconds // 5):
        world.now += 5
        node.reconcile()


def test_without_a_source_of_pods_kubelets_holdings_tell(make_node):
    """Without a list of pods the claim gets its holder's name, and ends when kubelet's holdings lack it for 30 s."""
    world, node, chosen, _ = anonymous_grant(make_node)
    world.hold("a", chosen)
    pass_time(world, node)
    (claim,) = node.view.claims
    assert claim.name.startswith("default/a/main:")
    world.held = []
    world.complete = False
    pass_time(world, node)
    assert len(node.view.claims) == 1
    world.complete = True
    pass_time(world, node, 25)
    assert len(node.view.claims) == 1
    pass_time(world, node, 15)
    assert node.view.claims == ()
    assert node.scene.instances() == []


def test_without_a_source_of_pods_an_init_container_keeps_its_claim(make_node):
    """Kubelet's holdings leave out init containers: its checkpoint tells the pod, and keeps the claim while it does."""
    world, node, chosen, outcome = anonymous_grant(make_node)
    remember(node.scene, ("uid-x", "setup", chosen, outcome))
    pass_time(world, node)
    (claim,) = node.view.claims
    assert (claim.owner.uid, claim.owner.container, claim.owner.confirmed) == ("uid-x", "setup", True)
    pass_time(world, node)
    assert len(node.view.claims) == 1
    remember(node.scene)
    pass_time(world, node)
    assert node.view.claims == ()


def test_a_pod_that_is_over_makes_room_for_one_that_waits(make_node):
    """On a full GPU with a pod that just ended an Allocate waits for the release instead of failing."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world, allocate_deadline_seconds=60.0)
    for name in "abcdefg":
        grant(node, world, name)
    world.end("c")
    world.add("new")
    hurried = threading.Event()
    node.listen_for_hurry(hurried.set)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(node.allocate, ids(node))
        assert hurried.wait(60)
        assert not waiting.done()
        node.reconcile()
        assert isinstance(waiting.result(), Grant)
    assert "new" in names(node)


def test_ids_that_are_given_anew_speak_for_the_newer_claim(make_node):
    """Kubelet gives the ids of a pod that just ended to another one: the old claim goes, the new one is confirmed."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    old = grant(node, world, "a")
    node.reconcile()
    chosen = node.view.claims[0].owner.device_ids
    world.end("a")
    world.add("b")
    new = node.allocate(chosen)
    assert isinstance(new, Grant)
    assert new.envs != old.envs
    world.hold("b", chosen)
    assert node.prestart(chosen) is None
    node.reconcile()
    assert names(node) == ["b"]
    (instance,) = node.view.snapshot.gpus[0].instances
    assert instance.mig_uuid == new.envs["NVIDIA_VISIBLE_DEVICES"]


class Overtaken(World):
    """A kubelet whose next list of holdings arrives after something else happened."""

    meanwhile: Callable[[], HoldingList] | None = None

    def holdings(self):
        if self.meanwhile is None:
            return super().holdings()
        happen, self.meanwhile = self.meanwhile, None
        return happen()


def test_an_answer_says_nothing_of_what_was_granted_while_it_was_on_its_way(make_node):
    """Kubelet reuses the ids of an ended pod while an older list still names that pod: the new pod keeps all."""
    world = Overtaken()
    node = make_node("1xA100-SXM4-40GB", world=world)
    world.add("a")
    taken = ids(node)
    assert isinstance(node.allocate(taken), Grant)
    world.hold("a", taken)
    node.reconcile()
    stale = HoldingList(holdings=tuple(world.held), complete=True)
    ended = world.known["a"]
    world.end("a")
    world.known["a"] = replace(ended, phase="Succeeded")

    def late():
        """The list is read, and before it arrives kubelet asks for the next pod."""
        world.add("b")
        assert isinstance(node.allocate(taken), Grant)
        return stale

    world.meanwhile = late
    node.reconcile()
    world.hold("b", taken)
    for _ in range(3):
        node.reconcile()
    (claim,) = node.view.claims
    assert claim.owner.name == "b"
    assert claim.owner.confirmed
    assert len(node.scene.instances()) == 1
    assert node.prestart(taken) is None
