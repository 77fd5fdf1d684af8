# SPDX-License-Identifier: Apache-2.0
"""A container starts: what it was granted is there, is restored, or the start is refused."""

from concurrent.futures import ThreadPoolExecutor

from support.nodes import World, destroy_all, grant, ids, open_node
from support.waiting import inside, until

from hamid.core.claims.pod_text import for_pod
from hamid.core.planner.refusal import Refusal, RefusalCode
from hamid.engine.driver.publisher import Publisher
from hamid.node.driver import mutations
from hamid.node.simulation import control


def test_a_start_brings_a_lost_instance_back_or_says_that_it_is_another(make_node):
    """The instance vanished: the start restores it under its name; under another name the start is refused."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    outcome = grant(node, world, "a")
    (claim,) = node.view.claims
    destroy_all(node.scene)
    assert node.prestart(claim.owner.device_ids) is None
    (instance,) = node.scene.observe().gpus[0].instances
    assert instance.mig_uuid == outcome.envs["NVIDIA_VISIBLE_DEVICES"]
    destroy_all(node.scene)
    control.set_knob("uuids", "fresh", state=node.scene.state)
    refusal = node.prestart(claim.owner.device_ids)
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.LOST
    assert "delete the pod" in for_pod(refusal).hint


def test_a_start_with_another_instances_device_node_is_refused(make_node):
    """After a reboot the GI ids are swapped: the UUIDs are the same, but the nodes that were told lead elsewhere."""
    world = World(9000)
    node = make_node("1xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    world.memory_mib = 4000
    grant(node, world, "b")
    claims = node.view.claims
    node.close()
    control.set_knob("gi_ids", "swapped", state=node.scene.state)
    node.scene.reboot()
    again = make_node(world=world, scene=node.scene)
    refusals = [again.prestart(claim.owner.device_ids) for claim in claims]
    assert any(refusals)
    for refusal in filter(None, refusals):
        assert refusal.code is RefusalCode.LOST
        assert "nvidia-cap" in for_pod(refusal).message


def test_a_start_of_unknown_ids_is_refused(make_node):
    """Ids that no claim holds: another plugin granted them, or an earlier hamid."""
    node = make_node("1xA100-SXM4-40GB")
    refusal = node.prestart(ids(node))
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.LOST


def test_fifty_exits_of_a_container_change_nothing(make_node):
    """A container that exits and starts again keeps its instance and its UUID."""
    world = World()
    node = make_node("1xA30", world=world)
    grant(node, world, "a")
    (before,) = node.view.snapshot.gpus[0].instances
    (claim,) = node.view.claims
    for _ in range(50):
        assert node.prestart(claim.owner.device_ids) is None
    node.reconcile()
    (after,) = node.view.snapshot.gpus[0].instances
    assert (after.mig_uuid, after.generation) == (before.mig_uuid, before.generation)


def test_a_start_brings_the_mode_back_that_somebody_took(make_node):
    """Another program clears an idle Hopper GPU: the next start has mode and instance again."""
    world = World()
    node = make_node("1xH100-80GB-SXM5", world=world)
    grant(node, world, "a")
    (claim,) = node.view.claims
    destroy_all(node.scene)
    mutations.start_driver()
    mutations.set_mode(claim.seats[0].seat.gpu_uuid, 0, enabled=False)
    mutations.stop_driver()
    assert not node.scene.observe().gpus[0].mig_enabled
    assert node.prestart(claim.owner.device_ids) is None
    assert len(node.scene.instances()) == 1


def test_a_start_waits_until_promises_are_restored(make_node):
    """A container starts while hamid still restores after a reboot: it waits, and then its instance is there."""
    world = World()
    node = make_node("1xH100-80GB-SXM5", world=world)
    grant(node, world, "a")
    chosen = node.view.claims[0].owner.device_ids
    node.close()
    node.scene.reboot()
    again = open_node(node.scene, world)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(again.prestart, chosen)
        until(lambda: inside(Publisher.wait, "seconds"))
        assert not waiting.done()
        again.start()
        assert waiting.result() is None
    assert len(again.view.snapshot.gpus[0].instances) == 1
    again.close()
