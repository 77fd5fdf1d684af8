# SPDX-License-Identifier: Apache-2.0
"""A claim is released when its pod is over, and not before what it holds is idle."""

import os

import pytest
from msgspec.structs import replace
from support.nodes import LateWorld, World, grant, ids, install_library, names

from hamid.core.claims.grant import Grant
from hamid.core.config.config import Mode
from hamid.core.errors import InUse
from hamid.core.planner.plan import SetMigMode


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


def test_a_list_of_pods_says_nothing_of_a_claim_that_was_granted_after_it(make_node):
    """A static pod starts again under its uid: the list that shows it as ended releases nothing of the new start."""
    world = LateWorld()
    node = make_node("1xA100-SXM4-40GB", world=world)
    world.add("b")
    world.end("b")
    world.meanwhile["pods"] = lambda: grant(node, world, "b")
    node.reconcile()
    assert names(node) == ["b"]
    assert len(node.scene.observe().gpus[0].instances) == 1


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
    """A process has the instance's device node open without computing: the claim stays until it is closed."""
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
def test_a_mode_decided_on_before_an_instance_was_promised_is_not_carried_out(make_node, spec):
    """The container with the instance may not have started, so no process uses it; MIG mode must stay on."""
    world = World()
    node = make_node(spec, world=world)
    granted = grant(node, world, "a")
    gpu = node.view.snapshot.gpus[0]
    (error,) = node.parts.runs.carry_out((SetMigMode(gpu_uuid=gpu.uuid, gpu_index=0, enabled=False),)).errors
    assert isinstance(error, InUse)
    (gpu,) = node.observe().snapshot.gpus
    assert gpu.mig_enabled
    assert [each.mig_uuid for each in gpu.instances] == [granted.envs["NVIDIA_VISIBLE_DEVICES"]]


def test_a_mode_decided_on_before_a_share_was_promised_is_not_carried_out(make_node):
    """The container with the grant may not have started, so no process uses the GPU; its mode must stay."""
    world = World()
    world.add("a")
    node = make_node("1xH100-80GB-SXM5", world=world, mode=Mode.HAMI_CORE, prepare=install_library)
    assert isinstance(node.allocate(ids(node)), Grant)
    gpu = node.view.snapshot.gpus[0]
    running = node.parts.runs.carry_out((SetMigMode(gpu_uuid=gpu.uuid, gpu_index=0, enabled=True),))
    assert isinstance(running.errors[0], InUse)
    assert not node.observe().snapshot.gpus[0].mig_enabled
    assert node.parts.ledger.open_runs() == ()
