# SPDX-License-Identifier: Apache-2.0
"""What was promised stays true: starts of containers, reboots, changed modes, lost drivers, the end of hamid."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from support.nodes import World, grant, ids, install_library, names, open_node
from support.scene import apart
from support.waiting import inside, until

from hamid.core.claims.grant import Grant
from hamid.core.claims.pod_text import for_pod
from hamid.core.config.config import Mode
from hamid.core.errors import DriverMissing, InUse, LedgerBusy
from hamid.core.planner.refusal import Refusal, RefusalCode
from hamid.core.planner.steps import SetMigMode
from hamid.engine.steps.apply import apply
from hamid.engine.steps.restore import release
from hamid.node.driver import mutations
from hamid.node.simulation import control


def destroy(scene):
    """Somebody else destroys every instance of the first GPU."""
    gpu = scene.observe().gpus[0]
    mutations.start_driver()
    for each in gpu.instances:
        mutations.destroy_compute_instance(gpu.uuid, gpu.index, each.profile_id, each.placement.start)
        mutations.destroy_gpu_instance(gpu.uuid, gpu.index, each.profile_id, each.placement.start)
    mutations.stop_driver()


@pytest.mark.parametrize("spec", ["1xA100-SXM4-40GB", "1xH100-80GB-SXM5"])
def test_what_was_promised_is_there_again_after_a_reboot(make_node, spec):
    """The node reboots: modes and instances are back at their placement before anything is granted."""
    world = World()
    node = make_node(spec, world=world)
    grant(node, world, "a")
    grant(node, world, "b", count=2)
    seats = sorted(each.seat for claim in node.view.claims for each in claim.seats)
    node.close()
    node.scene.reboot()
    again = make_node(world=world, scene=node.scene)
    there = sorted(
        (gpu.uuid, each.profile_id, each.placement.start)
        for gpu in again.view.snapshot.gpus
        for each in gpu.instances
        if each.claim
    )
    assert there == [(seat.gpu_uuid, seat.profile_id, seat.start) for seat in seats]
    assert names(again) == ["a", "b"]
    for claim in again.view.claims:
        assert again.prestart(claim.owner.device_ids) is None


def test_a_start_brings_a_lost_instance_back_or_says_that_it_is_another(make_node):
    """The instance vanished: the start restores it under its name; under another name the start is refused."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    outcome = grant(node, world, "a")
    (claim,) = node.view.claims
    destroy(node.scene)
    assert node.prestart(claim.owner.device_ids) is None
    (instance,) = node.scene.observe().gpus[0].instances
    assert instance.mig_uuid == outcome.envs["NVIDIA_VISIBLE_DEVICES"]
    destroy(node.scene)
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
    """Ids that no claim holds: the pod was granted them by somebody else, or long ago."""
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


def test_held_ids_stay_advertised_when_the_split_count_shrinks(make_node):
    """After a reload only free ids are withdrawn; a held one goes when it is free."""
    world = World()
    world.add("a")
    node = make_node("1xA30", world=world, split_count=10)
    last = node.devices()[9].device_id
    assert isinstance(node.allocate([last]), Grant)
    node.reconfigure(replace(node.view.config, split_count=4))
    assert len(node.devices()) == 5
    assert last in {each.device_id for each in node.devices()}
    world.end("a")
    node.reconcile()
    assert len(node.devices()) == 4


def test_a_mode_that_cannot_change_now_is_shown_and_changed_when_it_can(make_node):
    """A GPU with a share is to become a MIG GPU: nothing happens to the share, and afterwards the mode changes."""
    world = World()
    world.add("a")
    node = make_node("1xH100-80GB-SXM5", world=world, mode=Mode.HAMI_CORE, prepare=install_library)
    outcome = node.allocate(ids(node))
    assert isinstance(outcome, Grant)
    node.reconfigure(replace(node.view.config, mode=Mode.MIG))
    assert "promised" in node.view.gpus[0].pending
    assert not node.view.snapshot.gpus[0].mig_enabled
    world.end("a")
    node.reconcile()
    node.reconfigure(node.view.config)
    assert node.view.snapshot.gpus[0].mig_enabled
    assert node.view.gpus[0].pending == ""


@pytest.mark.parametrize("spec", ["1xA100-SXM4-40GB", "1xH100-80GB-SXM5"])
def test_a_promise_outlives_its_gpus_mode(make_node, spec):
    """MIG is configured away while a pod has an instance: its ids stay healthy, free ones not; a reboot restores it."""
    world = World()
    node = make_node(spec, world=world)
    outcome = grant(node, world, "a")
    (claim,) = node.view.claims
    node.reconfigure(replace(node.view.config, mode=Mode.HAMI_CORE))
    assert claim.name in node.view.gpus[0].pending
    assert [each.device_id for each in node.devices() if each.healthy] == list(claim.owner.device_ids)
    assert isinstance(node.allocate(ids(node)), Refusal)
    node.scene.reboot()
    again = make_node(world=world, scene=node.scene, mode=Mode.HAMI_CORE)
    assert again.prestart(claim.owner.device_ids) is None
    (instance,) = again.view.snapshot.gpus[0].instances
    assert instance.mig_uuid == outcome.envs["NVIDIA_VISIBLE_DEVICES"]
    world.end("a")
    again.reconcile()
    again.reconfigure(again.view.config)
    assert not again.view.snapshot.gpus[0].mig_enabled
    assert all(each.healthy for each in again.devices())


def test_a_start_brings_the_mode_back_that_somebody_took(make_node):
    """Somebody clears an idle Hopper GPU while hamid runs: the next start has mode and instance again."""
    world = World()
    node = make_node("1xH100-80GB-SXM5", world=world)
    grant(node, world, "a")
    (claim,) = node.view.claims
    destroy(node.scene)
    mutations.start_driver()
    mutations.set_mode(claim.seats[0].seat.gpu_uuid, 0, enabled=False)
    mutations.stop_driver()
    assert not node.scene.observe().gpus[0].mig_enabled
    assert node.prestart(claim.owner.device_ids) is None
    assert len(node.scene.instances()) == 1


def test_a_driver_that_goes_and_comes_back(make_node):
    """While the driver is gone its GPUs are unhealthy and nothing is granted; when it is back, promises are there."""
    world = World()
    node = make_node("1xH100-80GB-SXM5", world=world)
    outcome = grant(node, world, "a")
    control.add_fault("nvml*=error:9", state=node.scene.state)
    for _ in range(2):
        with pytest.raises(DriverMissing):
            node.reconcile()
    assert not node.view.ready
    assert not any(each.healthy for each in node.devices())
    assert isinstance(node.allocate(ids(node)), Refusal)
    assert names(node) == ["a"]
    control.clear_faults(state=node.scene.state)
    node.scene.reboot()
    node.reconcile()
    assert node.view.ready
    assert all(each.healthy for each in node.devices())
    (instance,) = node.view.snapshot.gpus[0].instances
    assert instance.mig_uuid == outcome.envs["NVIDIA_VISIBLE_DEVICES"]


@pytest.mark.parametrize("code", [3, 4, 9, 15, 19, 999])
@pytest.mark.parametrize("function", ["nvml*", "nvmlDeviceGetMemoryInfo*", "nvmlDeviceGetGpuInstances"])
def test_a_sick_gpu_is_one_sick_gpu(make_node, function, code):
    """Whatever code one GPU's calls fail with, it alone is unhealthy, its claim stays, and another one serves."""
    world = World()
    node = make_node("2xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    control.add_fault(f"{function}@0=error:{code}", state=node.scene.state)
    node.reconcile()
    world.add("b")
    assert isinstance(node.allocate(ids(node, gpu=1)), Grant)
    # What the driver calls not supported is no fault of the GPU.
    assert node.view.gpus[0].healthy is (code == 3 and "Memory" in function)
    assert node.view.gpus[1].healthy
    control.clear_faults(state=node.scene.state)
    node.reconcile()
    assert names(node) == ["a", "b"]
    assert all(each.healthy for each in node.view.gpus)


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


def test_closing_ends_what_is_on_its_way_and_leaves_nothing(make_node):
    """An Allocate is inside the driver when hamid ends: it is granted or undone, and the next hamid finds no trace."""
    world = World()
    world.add("a")
    node = make_node("1xA100-SXM4-40GB", world=world)
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#1=latency:1000", state=node.scene.state)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(node.allocate, ids(node))
        until(node.parts.runs.any_in_progress)
        node.close()
        granted = outcome.result()
    assert len(node.scene.instances()) == (1 if isinstance(granted, Grant) else 0)
    again = make_node(world=world, scene=node.scene)
    assert again.parts.ledger.open_runs() == ()
    assert len(again.view.claims) == len(node.scene.instances())


def test_a_change_beside_hamid_is_refused_with_its_pid(make_node):
    """Hamictl finds the ledger held, and says by whom; reading goes on."""
    node = make_node("1xA30")
    with pytest.raises(LedgerBusy, match=str(os.getpid())):
        release(node.scene.paths, "job")
    with pytest.raises(LedgerBusy):
        apply(node.scene.paths, (), fingerprint="")
    assert node.scene.facts().trusted


def test_a_gpu_that_answers_late_is_taken_back_into_service(make_scene):
    """A call that came back after its GPU was given up: the next reconciliations undo it and serve the GPU again."""
    scene = make_scene("1xA100-SXM4-40GB")

    def work():
        node = open_node(scene, driver_timeout_seconds=0.4, allocate_deadline_seconds=2.0)
        node.start()
        control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#1=latency:1500", state=scene.state)
        outcome = node.allocate(ids(node))
        assert isinstance(outcome, Refusal), outcome

        def served_again():
            node.reconcile()
            return node.parts.ledger.open_runs() == () and node.view.gpus[0].healthy

        until(served_again)
        assert node.view.claims == ()
        assert scene.instances() == []
        assert isinstance(node.allocate(ids(node)), Grant)
        node.close()

    apart(work)


def test_a_mode_decided_on_before_a_share_was_promised_is_not_carried_out(make_node):
    """The container that has the promise may not have begun yet, so nobody uses the GPU; it must find it so."""
    world = World()
    world.add("a")
    node = make_node("1xH100-80GB-SXM5", world=world, mode=Mode.HAMI_CORE, prepare=install_library)
    assert isinstance(node.allocate(ids(node)), Grant)
    gpu = node.view.snapshot.gpus[0]
    running = node.parts.runs.carry_out((SetMigMode(gpu_uuid=gpu.uuid, gpu_index=0, enabled=True),))
    assert isinstance(running.errors[0], InUse)
    assert not node.observe().snapshot.gpus[0].mig_enabled
    assert node.parts.ledger.open_runs() == ()
