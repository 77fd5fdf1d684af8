# SPDX-License-Identifier: Apache-2.0
"""The ledger is lost while pods run: they keep what they have, and what was promised is found again."""

import resource
import signal
from pathlib import Path

import pytest
from support.nodes import (
    SHARE,
    World,
    grant,
    ids,
    install_library,
    lose_ledger,
    names,
    plugin_folder,
    remember,
    told,
)

from hamid.core.claims.grant import Grant
from hamid.core.claims.pod_text import for_pod
from hamid.core.config.config import ForeignInstances
from hamid.core.planner.refusal import Refusal, RefusalCode
from hamid.core.pods.pods import Container
from hamid.testing.kubelet_files import CHECKPOINT

SPEC = "1xA100-SXM4-40GB"


def essence(node):
    """Claims but for their numbers and times."""
    return sorted(
        (
            claim.owner.uid,
            claim.owner.name,
            claim.owner.container,
            tuple(sorted(claim.owner.device_ids)),
            claim.owner.folder,
            tuple(sorted((each.seat, each.made, each.mig_uuid) for each in claim.seats)),
            claim.shares,
        )
        for claim in node.view.claims
    )


def promised(make_node, world, spec=SPEC, **settings):
    """A node with two pods, which kubelet remembers."""
    node = make_node(spec, world=world, **settings)
    grant(node, world, "a")
    grant(node, world, "b")
    node.reconcile()
    remember(node.scene, *told(node))
    return node


@pytest.mark.parametrize("how", ["deleted", "garbage"])
def test_claims_are_adopted_from_kubelets_memory(make_node, how):
    """Ledger deleted or corrupt: the same claims hold again, grants go on, an ended pod's instance goes."""
    world = World()
    node = promised(make_node, world)
    before = essence(node)
    node.close()
    lose_ledger(node.scene)
    if how == "garbage":
        Path(node.scene.paths.ledger).write_bytes(b"\0not a ledger" * 5000)
    again = make_node(world=world, scene=node.scene)
    assert essence(again) == before
    assert again.view.problems == ()
    assert all(again.prestart(claim.owner.device_ids) is None for claim in again.view.claims)
    world.add("c")
    assert isinstance(again.allocate(ids(again)), Grant)
    world.end("a")
    again.reconcile()
    assert names(again) == ["b", "c"]
    again.close()
    again.scene.assert_agreed()


def test_shares_are_adopted_too(make_node):
    """hami-core: memory that was promised before the ledger was lost is not promised twice."""
    world = World(memory_mib=10000, cores_percent=20)
    node = promised(make_node, world, "1xA30", prepare=install_library, **SHARE)
    before = essence(node)
    node.close()
    lose_ledger(node.scene)
    again = make_node(world=world, scene=node.scene, **SHARE)
    assert essence(again) == before
    world.add("c")
    outcome = again.allocate(ids(again))
    assert isinstance(outcome, Refusal)
    assert "MiB are free" in for_pod(outcome).reasons[0]


def doubtful(node, world, kind):
    """Takes away what would explain all."""
    file = Path(plugin_folder(node.scene)) / CHECKPOINT
    if kind == "no account of kubelet":
        file.unlink()
        world.complete = False
    elif kind == "no checkpoint, and ids are held":
        file.unlink()
    elif kind == "a checkpoint that lacks a holder":
        remember(node.scene, *told(node)[:1])
    elif kind == "a damaged checkpoint":
        file.write_bytes(file.read_bytes()[:-20])
    elif kind == "two live containers with one instance":
        first, second = told(node)
        remember(node.scene, first, (*second[:3], first[3]))


@pytest.mark.parametrize(
    "kind",
    [
        "no account of kubelet",
        "no checkpoint, and ids are held",
        "a checkpoint that lacks a holder",
        "a damaged checkpoint",
        "two live containers with one instance",
    ],
)
def test_while_anything_is_in_doubt_nothing_new_and_nothing_destroyed(make_node, kind):
    """Nothing goes although a pod ends, new ones are refused with the reason; later all is well."""
    world = World()
    node = promised(make_node, world)
    remembered = told(node)
    doubtful(node, world, kind)
    node.close()
    lose_ledger(node.scene)
    instances = node.scene.instances()
    again = make_node(world=world, scene=node.scene)
    if kind != "two live containers with one instance":
        world.end("a")
    for _ in range(3):
        again.reconcile()
        world.now += 60
        again.observe()
    outcome = again.allocate(ids(again))
    assert isinstance(outcome, Refusal)
    assert outcome.code is RefusalCode.LEDGER
    assert again.view.problems == (for_pod(outcome).message,)
    assert node.scene.instances() == instances
    for _, _, chosen, _ in remembered:
        assert again.prestart(chosen) is None
    # Kubelet answers again.
    remember(node.scene, *remembered)
    world.complete = True
    world.end("a")
    # What is adopted now is judged by lists that are asked for afterwards.
    again.reconcile()
    again.reconcile()
    assert names(again) == ["b"]
    assert again.view.problems == ()
    assert isinstance(again.allocate(ids(again)), Grant)


def test_a_pod_that_is_gone_loses_its_instance_to_the_successor(make_node):
    """Kubelet still remembers an older pod that was told the same UUID: the living one has it."""
    world = World()
    node = promised(make_node, world)
    first, second = told(node)
    remember(node.scene, ("uid-gone", "main", first[2], first[3]), first, second)
    node.close()
    lose_ledger(node.scene)
    again = make_node(world=world, scene=node.scene)
    assert names(again) == ["a", "b"]
    again.reconcile()
    assert names(again) == ["a", "b"]


def test_an_app_container_has_its_init_containers_claim(make_node):
    """Two entries with the same ids in one pod are one claim, the app container's."""
    world = World()
    init, main = Container(name="setup", init=True), Container(name="main")
    pod = world.add("job", init, main)
    node = make_node(SPEC, world=world)
    chosen = ids(node)
    granted = node.allocate(chosen)
    remember(node.scene, (pod.uid, "main", chosen, granted), (pod.uid, "setup", chosen, granted))
    node.close()
    lose_ledger(node.scene)
    (claim,) = make_node(world=world, scene=node.scene).view.claims
    assert claim.owner.container == "main"


def test_after_a_reboot_a_forgotten_instance_refuses_the_start(make_node):
    """Ledger and instances are gone together: the node serves on, and the old container is told to get a new pod."""
    world = World()
    node = promised(make_node, world)
    (_, _, chosen, _), _ = told(node)
    node.close()
    lose_ledger(node.scene)
    node.scene.reboot()
    again = make_node(world=world, scene=node.scene)
    refusal = again.prestart(chosen)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.LOST
    world.add("c")
    assert isinstance(again.allocate(ids(again)[-1:]), Grant)


def test_what_nobody_claims_becomes_foreign(make_node):
    """An idle instance without any claim counts as foreign: the policy may reuse it, and it is never destroyed."""
    world = World()
    node = make_node(SPEC, world=world)
    outcome = grant(node, world, "a")
    node.close()
    world.end("a")
    remember(node.scene)
    lose_ledger(node.scene)
    again = make_node(world=world, scene=node.scene, foreign_instances=ForeignInstances.REUSE)
    again.reconcile()
    (instance,) = again.view.snapshot.gpus[0].instances
    assert (instance.used, instance.generation) == (False, 0)
    world.add("b")
    reused = again.allocate(ids(again))
    assert isinstance(reused, Grant)
    assert reused.envs == outcome.envs
    world.end("b")
    again.reconcile()
    assert len(node.scene.instances()) == 1


def no_room(node):
    """From now on no file may grow; how to end that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))

    def room():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    return room


def read_only(node):
    """From now on the ledger cannot be written; how to end that."""
    node.parts.ledger._connection.execute("PRAGMA query_only = 1")
    return lambda: node.parts.ledger._connection.execute("PRAGMA query_only = 0")


@pytest.mark.parametrize("fail", [no_room, read_only], ids=["full disk", "read-only ledger"])
def test_without_a_ledger_to_write_grants_go_on_and_new_ones_are_refused(make_node, fail):
    """The disk fills up or turns read-only: starts pass, nothing is granted or lost, and with room all goes on."""
    world = World()
    node = make_node(SPEC, world=world)
    grant(node, world, "a")
    grant(node, world, "b")
    node.reconcile()
    repair = fail(node)
    try:
        world.add("c")
        outcome = node.allocate(ids(node))
        started = [node.prestart(claim.owner.device_ids) for claim in node.view.claims]
        world.end("a")
        node.reconcile()
        kept = names(node)
        instances = node.scene.instances()
    finally:
        repair()
    assert isinstance(outcome, Refusal)
    assert outcome.code is RefusalCode.LEDGER
    assert started == [None, None]
    assert kept == ["a", "b"]
    assert len(instances) == 2
    node.reconcile()
    assert names(node) == ["b"]
    assert isinstance(node.allocate(ids(node)), Grant)
