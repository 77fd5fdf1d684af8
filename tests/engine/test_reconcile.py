# SPDX-License-Identifier: Apache-2.0
"""Who keeps and who loses a claim: pods that go, lists that lie, reboots, starts of containers."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from nodes import World, grant, ids, install_library, names, open_node, remember
from scene import apart

from hamid.core.config import Mode
from hamid.core.errors import DriverMissing, LedgerBusy
from hamid.core.grant import Denial, DenialCode, Grant
from hamid.engine.apply import apply
from hamid.engine.restore import release
from hamid.node import mutations, simulator


def destroy(scene):
    """Somebody else destroys every instance of the first GPU."""
    gpu = scene.observe().gpus[0]
    mutations.start_driver()
    for each in gpu.instances:
        mutations.destroy_compute_instance(gpu.uuid, gpu.index, each.profile_id, each.placement.start)
        mutations.destroy_gpu_instance(gpu.uuid, gpu.index, each.profile_id, each.placement.start)
    mutations.stop_driver()


def test_a_pod_that_is_over_gives_its_instance_back_and_neighbours_keep_theirs(make_node):
    """One of seven pods ends: its claim and instance go in one reconciliation, the others' UUIDs stay."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    grants = {name: grant(node, world, name) for name in "abcdefg"}
    node.reconcile()
    world.end("d")
    node.reconcile()
    assert names(node) == ["a", "b", "c", "e", "f", "g"]
    uuids = {each.mig_uuid for each in node.view.snapshot.gpus[0].instances}
    assert uuids == {grants[name].envs["NVIDIA_VISIBLE_DEVICES"] for name in "abcefg"}


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


def test_an_instance_in_use_keeps_its_claim_and_delays_nobody(make_node):
    """Two pods end while a process still uses the first one's instance: the second goes, the first when it is idle."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    first = grant(node, world, "a")
    grant(node, world, "b")
    user = node.scene.use(first.envs["NVIDIA_VISIBLE_DEVICES"])
    world.end("a")
    world.end("b")
    node.reconcile()
    assert names(node) == ["a"]
    user.communicate()
    node.reconcile()
    assert names(node) == []


def cgroup_of(scene, version):
    """The cgroup of pod a, with a process in it, as one of kubelet's drivers makes it."""
    if version == 2:
        folder = scene.root / "sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poduid_a.slice"
        file, text = folder / "cgroup.events", "populated 1\nfrozen 0\n"
    else:
        folder = scene.root / "sys/fs/cgroup/memory/kubepods/burstable/poduid-a"
        file, text = folder / "c1/cgroup.procs", "4711\n"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("version", [1, 2])
def test_a_pod_whose_cgroup_has_processes_keeps_its_claim(make_node, version):
    """Kubelet calls the pod over while its cgroup is populated: nothing goes until it is empty."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    file = cgroup_of(node.scene, version)
    world.end("a")
    node.reconcile()
    assert names(node) == ["a"]
    file.write_text("populated 0\n" if version == 2 else "")
    node.reconcile()
    assert names(node) == []


def test_an_open_capability_node_keeps_the_claim(make_node):
    """Somebody has the instance's device node open, though nothing computes there: nothing goes until it is closed."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    outcome = grant(node, world, "a")
    (path, *_) = [each.host_path for each in outcome.devices if "nvidia-caps" in each.host_path]
    descriptor = os.open(path, os.O_PATH)
    try:
        world.end("a")
        node.reconcile()
        assert names(node) == ["a"]
    finally:
        os.close(descriptor)
    node.reconcile()
    assert names(node) == []


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


def test_ids_that_kubelet_says_are_held_keep_their_claim(make_node):
    """The pod seems to be over, but kubelet has the ids at another container: nothing is released."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    held = list(world.held)
    world.end("a")
    world.held = [replace(each, pod="z") for each in held]
    node.reconcile()
    assert len(node.view.claims) == 1


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
    simulator.set_knob("uuids", "fresh", state=node.scene.state)
    denial = node.prestart(claim.owner.device_ids)
    assert isinstance(denial, Denial)
    assert denial.code is DenialCode.LOST
    assert "delete the pod" in denial.hint


def test_a_start_of_unknown_ids_is_refused(make_node):
    """Ids that no claim holds: the pod was granted them by somebody else, or long ago."""
    node = make_node("1xA100-SXM4-40GB")
    denial = node.prestart(ids(node))
    assert isinstance(denial, Denial)
    assert denial.code is DenialCode.LOST


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
    assert isinstance(node.allocate(ids(node)), Denial)
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


def anonymous_grant(make_node, spec="1xA100-SXM4-40GB"):
    """A node that is told of no pods, and one claim of nobody knows whom."""
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
    """Nobody knows the pods: the holder gives its name, and the claim goes when kubelet's holdings lack it for 30 s."""
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


def test_a_driver_that_goes_and_comes_back(make_node):
    """While the driver is gone its GPUs are unhealthy and nothing is granted; when it is back, promises are there."""
    world = World()
    node = make_node("1xH100-80GB-SXM5", world=world)
    outcome = grant(node, world, "a")
    simulator.add_fault("nvml*=error:9", state=node.scene.state)
    for _ in range(2):
        with pytest.raises(DriverMissing):
            node.reconcile()
    assert not node.view.ready
    assert not any(each.healthy for each in node.devices())
    assert isinstance(node.allocate(ids(node)), Denial)
    assert names(node) == ["a"]
    simulator.clear_faults(state=node.scene.state)
    node.scene.reboot()
    node.reconcile()
    assert node.view.ready
    assert all(each.healthy for each in node.devices())
    (instance,) = node.view.snapshot.gpus[0].instances
    assert instance.mig_uuid == outcome.envs["NVIDIA_VISIBLE_DEVICES"]


def test_a_pod_that_is_over_makes_room_for_one_that_waits(make_node):
    """On a full GPU with a pod that just ended an Allocate waits for the release instead of failing."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world, allocate_deadline_seconds=8.0)
    for name in "abcdefg":
        grant(node, world, name)
    world.end("c")
    world.add("new")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(node.allocate, ids(node))
        time.sleep(0.3)
        assert not waiting.done()
        node.reconcile()
        assert isinstance(waiting.result(), Grant)
    assert "new" in names(node)


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
        time.sleep(0.3)
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
    simulator.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#1=latency:1000", state=node.scene.state)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(node.allocate, ids(node))
        time.sleep(0.3)
        node.close()
        granted = outcome.result()
    assert len(node.scene.instances()) == (1 if isinstance(granted, Grant) else 0)
    again = make_node(world=world, scene=node.scene)
    assert again.live.ledger.open_runs() == ()
    assert len(again.view.claims) == len(node.scene.instances())


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
        simulator.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#1=latency:1500", state=scene.state)
        outcome = node.allocate(ids(node))
        assert isinstance(outcome, Denial), outcome
        time.sleep(2)
        for _ in range(5):
            node.reconcile()
        assert node.live.ledger.open_runs() == ()
        assert node.view.claims == ()
        assert scene.instances() == []
        assert isinstance(node.allocate(ids(node)), Grant)
        node.close()

    apart(work)
