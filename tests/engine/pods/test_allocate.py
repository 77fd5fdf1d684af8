# SPDX-License-Identifier: Apache-2.0
"""Allocate on the simulated driver: what a container gets, what is left of a refusal, what others notice of it."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.nodes import World, ids, install_library, open_node
from support.scene import apart
from support.waiting import until

from hamid.core.claims.grant import Grant
from hamid.core.claims.pod_text import for_pod
from hamid.core.config.config import Mode
from hamid.core.planner.refusal import Refusal, RefusalCode
from hamid.core.planner.request import Policy
from hamid.core.pods.pods import Container
from hamid.node.simulation import control

ONE, WHOLE = 4000, 40000


def agree(node):
    """Ledger and NVML say the same: each claimed seat has its instance, and each instance of ours its claim."""
    node.observe()
    claimed = sorted((each.seat.gpu_uuid, each.seat.start) for claim in node.view.claims for each in claim.seats)
    there = sorted(
        (gpu.uuid, each.placement.start) for gpu in node.view.snapshot.gpus for each in gpu.instances if each.generation
    )
    assert claimed == there
    assert not any(claim.pending for claim in node.view.claims)
    assert node.parts.ledger.open_runs() == ()
    assert not node.parts.runs.any_in_progress()


def test_a_container_gets_an_instance_that_did_not_exist(make_node):
    """On an idle GPU one Allocate makes the instance, names it and its device nodes, and the ledger agrees."""
    node = make_node("1xA100-SXM4-40GB")
    grant = node.allocate(ids(node))
    assert isinstance(grant, Grant), grant
    (instance,) = node.view.snapshot.gpus[0].instances
    assert grant.envs == {"NVIDIA_VISIBLE_DEVICES": instance.mig_uuid}
    assert instance.claim == node.view.claim_name(grant.claim)
    capabilities = [each.container_path for each in grant.devices if "nvidia-caps" in each.container_path]
    assert len(capabilities) == 2
    agree(node)
    node.undo(grant.claim)
    assert node.view.claims == ()
    assert node.scene.instances() == []


def test_the_worked_example_and_refill(make_node):
    """Seven of 1g fill a GPU, the eighth is refused with reasons; one goes, the neighbours keep theirs, one comes."""
    node = make_node("1xA100-SXM4-40GB", allocate_deadline_seconds=3.0)
    grants = [node.allocate(ids(node)) for _ in range(7)]
    assert all(isinstance(grant, Grant) for grant in grants)
    refused = node.allocate(ids(node))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.NO_FIT
    assert any("GPU 0" in reason for reason in for_pod(refused).reasons)
    node.undo(grants[3].claim)
    before = {each.mig_uuid for each in node.view.snapshot.gpus[0].instances}
    again = node.allocate(ids(node))
    assert isinstance(again, Grant)
    assert before < {each.mig_uuid for each in node.view.snapshot.gpus[0].instances}
    agree(node)


def test_many_at_once_never_get_the_same_place(make_node):
    """64 concurrent Allocates over 8 GPUs: 56 instances of 1g, each for one container, and 8 refusals."""
    node = make_node("8xA100-SXM4-40GB")
    asked = [ids(node, 8, gpu)[n] for gpu in range(8) for n in range(8)]
    with ThreadPoolExecutor(64) as pool:
        outcomes = list(pool.map(lambda each: node.allocate([each]), asked))
    grants = [each for each in outcomes if isinstance(each, Grant)]
    assert len(grants) == 56, [each for each in outcomes if isinstance(each, Refusal)]
    assert len({grant.envs["NVIDIA_VISIBLE_DEVICES"] for grant in grants}) == 56
    assert all(each.code is RefusalCode.NO_FIT for each in outcomes if isinstance(each, Refusal))
    agree(node)


def test_mixed_sizes_at_once_leave_nothing_behind(make_node):
    """Different sizes concurrently, granted or refused, given back concurrently: the node is as it was."""
    world = World()
    node = make_node("2xA100-SXM4-40GB", world=world, allocate_deadline_seconds=4.0)
    sizes = [4000, 9000, 19000, 4000, 9000, 39000, 4000, 4000, 19000, 9000]
    asked = [each for gpu in range(2) for each in ids(node, 5, gpu)]

    def one(pair):
        world.memory_mib = pair[0]
        return node.allocate([pair[1]])

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(one, zip(sizes, asked, strict=True)))
        agree(node)
        list(pool.map(lambda each: node.undo(each.claim), [each for each in outcomes if isinstance(each, Grant)]))
    agree(node)
    assert node.scene.instances() == []


def test_mixed_sizes_to_saturation_and_refill(make_node):
    """Requests of mixed sizes fill the GPU, and every other one is replaced: no two share a placement."""
    world = World()
    node = make_node("2xA100-SXM4-40GB,1xA30", world=world, allocate_deadline_seconds=1.0)
    held = {}
    for turn in range(3):
        refused = 0
        for size in itertools.islice(itertools.cycle((4000, 19000, 9000, 5000, 11000, 4000)), turn, None):
            world.memory_mib = size
            free = next(each for gpu in range(3) for each in ids(node, 1, gpu))
            outcome = node.allocate([free])
            if isinstance(outcome, Refusal):
                refused += 1
                assert outcome.code is RefusalCode.NO_FIT
                assert len(outcome.reasons) == 3
            else:
                held[outcome.claim] = outcome.envs["NVIDIA_VISIBLE_DEVICES"]
            if refused == 6:
                break
        agree(node)
        assert len(set(held.values())) == len(held) == len(node.scene.instances())
        for claim in list(held)[::2]:
            node.undo(claim)
            del held[claim]
        there = {each.mig_uuid for gpu in node.view.snapshot.gpus for each in gpu.instances}
        assert there == set(held.values())


def test_a_slow_gpu_delays_only_itself(make_scene):
    """While a call on one GPU has not returned, another GPU serves and the view is read."""
    scene = make_scene("2xA100-SXM4-40GB")

    def work():
        node = open_node(scene)
        node.start()
        control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement@0=hang", state=scene.state)
        slow = threading.Thread(target=node.allocate, args=(ids(node, gpu=0),), daemon=True)
        slow.start()
        until(node.parts.runs.any_in_progress)
        node.set_health(node.view.gpus[0].gpu.uuid, "busy")  # so that the planner takes the other one
        assert isinstance(node.allocate(ids(node, gpu=1)), Grant)
        assert node.view.claims
        assert slow.is_alive()

    apart(work)


def test_a_driver_that_answers_late_leaves_nothing(make_node):
    """The deadline passes inside a creation: the answer comes in time, and what the driver made is taken back."""
    node = make_node("1xA100-SXM4-40GB", allocate_deadline_seconds=1.0)
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#1=latency:2500", state=node.scene.state)
    outcome = node.allocate(ids(node))
    assert node.parts.runs.any_in_progress(), "the answer came before the driver's"
    assert isinstance(outcome, Refusal)
    assert outcome.code is RefusalCode.DEADLINE
    until(lambda: not node.parts.runs.any_in_progress())
    agree(node)
    assert node.scene.instances() == []
    assert isinstance(node.allocate(ids(node)), Grant)


def test_a_gpu_that_fails_is_left_for_another(make_node):
    """A creation that one GPU refuses for good is made on the other, and nothing is left on the first."""
    node = make_node("2xA100-SXM4-40GB")
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement@0=error:999", state=node.scene.state)
    grant = node.allocate(ids(node, gpu=0))
    assert isinstance(grant, Grant), grant
    assert [each[0] for each in node.scene.instances()] == [1]
    agree(node)


def test_what_passes_is_tried_again_and_what_does_not_fails_at_once(make_node):
    """IN_USE is retried until it passes; a driver that forbids is believed."""
    node = make_node("1xA100-SXM4-40GB", allocate_deadline_seconds=8.0)
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#1+3=error:19", state=node.scene.state)
    assert isinstance(node.allocate(ids(node)), Grant)
    control.clear_faults(state=node.scene.state)
    # A second try would be granted.
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement#1=error:4", state=node.scene.state)
    assert isinstance(node.allocate(ids(node)), Refusal)
    agree(node)


def test_a_hanging_gpu_is_parked_and_the_others_serve(make_scene):
    """A creation that never comes back: refused in time, its GPU unhealthy, the other one serves on."""
    scene = make_scene("2xA100-SXM4-40GB")

    def work():
        node = open_node(scene, driver_timeout_seconds=0.5, allocate_deadline_seconds=3.0)
        node.start()
        control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement@0=hang", state=scene.state)
        first = node.allocate(ids(node, gpu=0))
        # There was time left for the other GPU.
        assert isinstance(first, Grant), first
        assert {each.healthy for each in node.devices() if each.gpu_uuid == node.view.gpus[0].gpu.uuid} == {False}
        assert "driver-hung" in node.view.gpus[0].problem
        assert isinstance(node.allocate(ids(node, gpu=1)), Grant)
        node.reconcile()
        assert len(node.parts.ledger.open_runs()) == 1

    apart(work)


def test_nothing_is_granted_for_ids_that_are_not_ours(make_node):
    """Unknown, repeated and malformed ids are refused by name; nothing is written down."""
    node = make_node("1xA100-SXM4-40GB")
    (known,) = ids(node)
    uuid = node.view.gpus[0].gpu.uuid
    for wrong in (["GPU-x-0"], [f"{uuid}-999"], [uuid], [""], [known, "x"]):
        outcome = node.allocate(wrong)
        assert isinstance(outcome, Refusal)
        assert outcome.code is RefusalCode.UNKNOWN_DEVICE
    twice = node.allocate([known, known])
    assert isinstance(twice, Refusal)
    assert twice.code is RefusalCode.BAD_REQUEST
    assert node.view.claims == ()


def test_equal_ids_are_a_repeat_only_while_nobody_confirmed(make_node):
    """The same call again gives the same grant; once kubelet confirmed the holder, another pod gets its own."""
    world = World()
    world.add("one")
    node = make_node("1xA100-SXM4-40GB", world=world)
    chosen = ids(node)
    first = node.allocate(chosen)
    assert node.allocate(chosen) == first
    world.hold("one", chosen)
    node.reconcile()
    world.held.clear()
    world.add("two")
    second = node.allocate(chosen)
    assert isinstance(second, Grant)
    assert second.envs != first.envs
    world.hold("two", chosen)
    node.reconcile()
    # Kubelet lost its own records and admits the same container again: that is not a repeated call.
    again = node.allocate(chosen)
    assert isinstance(again, Grant)
    assert again.envs != second.envs
    agree(node)


def test_an_init_containers_ids_are_handed_on(make_node):
    """The app container that gets its init container's ids gets its instance too, and one claim holds it."""
    world = World()
    init, main = Container(name="setup", init=True), Container(name="main")
    pod = world.add("job", init, main)
    world.asking = (pod, init)
    node = make_node("1xA100-SXM4-40GB", world=world)
    chosen = ids(node)
    first = node.allocate(chosen)
    world.asking = (pod, main)
    second = node.allocate(chosen)
    assert isinstance(second, Grant)
    assert second.envs == first.envs
    (claim,) = node.view.claims
    assert claim.owner.container == "main"
    assert node.prestart(chosen) is None
    agree(node)


def test_a_share_carries_limits_and_an_empty_directory(make_node):
    """hami-core: limits by position, libvgpu and its preload, a directory of the container's own that goes with it."""
    world = World(memory_mib=8000, cores_percent=30)
    world.add("job")
    node = make_node("2xA100-SXM4-40GB", world=world, mode=Mode.HAMI_CORE, prepare=install_library)
    two = (*ids(node, gpu=0), *ids(node, gpu=1))
    grant = node.allocate(two)
    assert isinstance(grant, Grant), grant
    assert grant.envs["CUDA_DEVICE_MEMORY_LIMIT_1"] == "8000m"
    assert grant.envs["CUDA_DEVICE_SM_LIMIT"] == "30"
    assert len(grant.envs["NVIDIA_VISIBLE_DEVICES"].split(",")) == 2
    folder = node.scene.root / "usr/local/vgpu/containers/uid-job_main"
    assert folder.stat().st_mode & 0o777 == 0o777
    assert str(folder) in [mount.host_path for mount in grant.mounts]
    node.undo(grant.claim)
    assert not folder.exists()
    assert node.view.claims == ()


def test_shares_that_are_handed_on_leave_no_directory(make_node):
    """Init and app container each have their directory; a start makes a missing one again; both go with the claim."""
    world = World()
    init, main = Container(name="setup", init=True), Container(name="main")
    pod = world.add("job", init, main)
    world.asking = (pod, init)
    node = make_node("1xA30", world=world, mode=Mode.HAMI_CORE, prepare=install_library)
    chosen = ids(node)
    assert isinstance(node.allocate(chosen), Grant)
    world.asking = (pod, main)
    assert isinstance(node.allocate(chosen), Grant)
    folder = node.scene.root / "usr/local/vgpu/containers"
    assert {each.name for each in folder.iterdir()} == {"uid-job_setup", "uid-job_main"}
    (folder / "uid-job_setup").rmdir()
    assert node.prestart(chosen) is None
    assert {each.name for each in folder.iterdir()} == {"uid-job_setup", "uid-job_main"}
    world.end("job")
    node.reconcile()
    assert list(folder.iterdir()) == []


def test_shares_never_exceed_the_gpu(make_node):
    """Memory and cores are promised only once; the refusal says what is left."""
    node = make_node("1xA30", world=World(memory_mib=10000), mode=Mode.HAMI_CORE, prepare=install_library)
    assert isinstance(node.allocate(ids(node)), Grant)
    assert isinstance(node.allocate(ids(node)), Grant)
    outcome = node.allocate(ids(node))
    assert isinstance(outcome, Refusal)
    assert "MiB are free" in for_pod(outcome).reasons[0]


@pytest.mark.parametrize("policy", Policy)
def test_a_refusal_speaks_to_whoever_has_pods_and_not_to_hamictl(make_node, policy):
    """Its hint names no option of hamictl, for ids of every GPU."""
    node = make_node("2xA30", world=World(memory_mib=20000), policy=policy)
    refusals = [each for gpu in (0, 0, 1, 1) if isinstance(each := node.allocate(ids(node, gpu=gpu)), Refusal)]
    assert len(refusals) >= 2
    for refusal in refusals:
        assert len(refusal.reasons) == 2
        assert for_pod(refusal).hint
        assert " -" not in for_pod(refusal).hint


def test_a_share_needs_an_installed_library(make_node):
    """Without libvgpu the answer says how to install it, and nothing is promised."""
    node = make_node("1xA30", mode=Mode.HAMI_CORE)
    outcome = node.allocate(ids(node))
    assert isinstance(outcome, Refusal)
    assert outcome.code is RefusalCode.LIBRARY
    assert "hamictl lib sync" in for_pod(outcome).hint
    assert node.view.claims == ()


def test_kubelet_is_steered_to_the_gpu_that_the_planner_takes(make_node):
    """GetPreferredAllocation: the GPU in use that still has room, and Allocate then stays on it."""
    world = World()
    node = make_node("3xA100-SXM4-40GB", world=world)
    assert isinstance(node.allocate(ids(node, gpu=1)), Grant)
    available = tuple(each.device_id for each in node.devices())[::-1]
    (chosen,) = node.prefer(available, (), 1)
    assert chosen.startswith(node.view.gpus[1].gpu.uuid)
    granted = node.allocate([chosen])
    assert isinstance(granted, Grant)
    assert {each[0] for each in node.scene.instances()} == {1}
    # What does not fit there any more goes elsewhere.
    world.memory_mib = 39000
    (chosen,) = node.prefer(available, (), 1)
    assert not chosen.startswith(node.view.gpus[1].gpu.uuid)


def test_preference_keeps_what_must_be_included_and_spreads_shares(make_node):
    """The required id is in the answer, two shares are on two GPUs, and no id is invented or repeated."""
    node = make_node("3xA30", mode=Mode.HAMI_CORE, prepare=install_library)
    available = tuple(each.device_id for each in node.devices())
    must = (available[-1],)
    answer = node.prefer(available, must, 2)
    assert must[0] in answer
    assert len({each.rpartition("-")[0] for each in answer}) == 2
    assert set(answer) <= set(available)
    assert node.prefer(available[:2], (), 5) == available[:2]
