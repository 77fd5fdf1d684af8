# SPDX-License-Identifier: Apache-2.0
"""The node as a whole keeps what was promised: over reboots, changed modes, lost drivers and the end of hamid."""

import inspect
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from support.nodes import World, grant, ids, install_library, names, open_node
from support.scene import apart
from support.waiting import inside, until

from hamid.core.claims.grant import Grant
from hamid.core.config.config import Mode
from hamid.core.errors import DriverMissing, LedgerBusy
from hamid.core.planner.refusal import Refusal
from hamid.engine.driver.turns import Turns
from hamid.engine.steps.apply import apply
from hamid.engine.steps.restore import release
from hamid.node.simulation import control


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


def test_a_pod_that_ended_while_hamid_was_down_gets_nothing_back(make_node):
    """The pod ended before the reboot was over: its instance is not created again, and its claim is released."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    node.close()
    node.scene.reboot()
    world.end("a")
    again = make_node(world=world, scene=node.scene)
    assert again.view.snapshot.gpus[0].instances == ()
    again.reconcile()
    assert names(again) == []


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
    assert "held by" in node.view.gpus[0].pending
    assert not node.view.snapshot.gpus[0].mig_enabled
    world.end("a")
    node.reconcile()
    node.reconfigure(node.view.config)
    assert node.view.snapshot.gpus[0].mig_enabled
    assert node.view.gpus[0].pending == ""


def test_a_mode_on_its_way_off_comes_back_when_the_configuration_does(make_node):
    """A reload that meets a mode change of a reconciliation waits for it; the last configuration is in force."""
    node = make_node("1xA100-SXM4-40GB")
    mig, whole = node.view.config, replace(node.view.config, mode=Mode.HAMI_CORE)
    gate = threading.Event()
    with ThreadPoolExecutor() as pool:
        try:
            holder = pool.submit(node.parts.session.workers.run, {0: lambda _: gate.wait()})
            first = pool.submit(node.reconfigure, whole)
            until(node.parts.runs.any_in_progress)
            second = pool.submit(node.reconfigure, mig)
            until(lambda: second.done() or inside(inspect.unwrap(Turns.in_turn), "lock"))
        finally:
            gate.set()
    assert holder.exception() is None
    assert first.result() == ["done: MIG mode off on GPU 0"]
    assert second.result() == ["done: MIG mode on on GPU 0"]
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
    """A GPU whose calls fail with any code is alone unhealthy, its claim stays, and another one serves."""
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
    """The command line finds the ledger locked, and names the holder; reading goes on."""
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
