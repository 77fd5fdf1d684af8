# SPDX-License-Identifier: Apache-2.0
"""A node on which an earlier release died with claims of every kind: this one takes it over and loses nothing."""

import pytest
from support.nodes import World, install_library, running
from support.old_ledgers import put, said, says

from hamid.core.claims.claim import ClaimStatus, status_of
from hamid.core.config.config import Mode
from hamid.core.hardware.gpu import Gpu
from hamid.core.pods.pods import Container, Pod
from hamid.engine.steps.recover import repair_plan
from hamid.node.driver import mutations, nvml
from hamid.node.ledger.reader import read_facts

SPEC = "3xA100-SXM4-40GB,1xA30"
SHARED = {"gpu_modes": {"2": Mode.HAMI_CORE}}
RUNNING = ("adopter", "pair", "shared", "early", "early-shared")


@pytest.fixture
def scene(make_scene):
    """The node as it was left: every instance that the ledger knows, and half of the one that was being made."""
    scene = make_scene(SPEC)
    install_library(scene)
    put(scene.paths, "busy-v2")
    facts = read_facts(scene.paths)
    seats = [each for claim in facts.claims for each in claim.seats if claim.pending is False]
    (pending,) = [claim for claim in facts.claims if claim.pending]
    gpus = {gpu.uuid: gpu for gpu in scene.observe().gpus}
    mutations.start_driver()
    for uuid in sorted({each.seat.gpu_uuid for each in (*seats, *pending.seats)}):
        mutations.set_mode(uuid, gpus[uuid].index, enabled=True)
    for each in seats:
        make(gpus[each.seat.gpu_uuid], each)
    for each in pending.seats:
        make(gpus[each.seat.gpu_uuid], each, whole=False)
    mutations.stop_driver()
    return scene


def make(gpu: Gpu, each, *, whole=True):
    """An instance as the earlier release made it."""
    seat = each.seat
    mutations.create_gpu_instance(gpu.uuid, gpu.index, seat.profile_id, each.placement)
    if whole:
        slices = next(x.compute_slices for x in nvml.gpu(gpu.index).profiles if x.profile_id == seat.profile_id)
        mutations.create_compute_instance(gpu.uuid, gpu.index, seat.profile_id, seat.start, slices)


@pytest.fixture
def world(scene):
    """Kubelet as it was left: the pods of the ledger, those that run and one that is over."""
    world = World()
    for claim in read_facts(scene.paths).claims:
        owner = claim.owner
        if owner is None or claim.pending:
            continue
        phase = "Running" if owner.name in RUNNING else "Succeeded"
        containers = (Container(name="main"),)
        pod = Pod(uid=owner.uid, namespace="default", name=owner.name, phase=phase, containers=containers)
        world.known[owner.name] = pod
        if phase == "Running":
            world.hold(owner.name, owner.device_ids)
    return world


def claims(node):
    return {claim.name: claim for claim in node.view.claims}


def reconciled(node, times=3):
    for _ in range(times):
        node.reconcile()
    return claims(node)


def instances(scene):
    """Every instance that is there, by what NVML calls it."""
    return {each.mig_uuid for gpu in scene.observe().gpus for each in gpu.instances}


def test_the_node_is_as_the_earlier_release_left_it(scene):
    """What the ledger says of instances is what NVML says; otherwise the other tests would prove nothing."""
    facts = read_facts(scene.paths)
    held = {each.mig_uuid for claim in facts.claims if not claim.pending for each in claim.seats}
    assert held | {None} == instances(scene)


def test_every_claim_is_served_and_what_had_begun_is_ended(scene, world):
    """Names stay; a start of every container finds its instances; the open grant is undone, the open end is ended."""
    before = {each["name"]: each for each in said("busy-v2")}
    granted = {claim.id: claim for claim in read_facts(scene.paths).claims}
    with running(scene, world, **SHARED) as node:
        after = reconciled(node)
        gone = {"default/unfinished/main:14", "default/leaving/main:8"}
        assert set(after) == set(before) - gone
        for each in says("busy-v2", read_facts(scene.paths)):
            assert each == {**before[each["name"]], "standing": each["standing"]}
        for claim in after.values():
            if claim.owner is not None:
                assert status_of(claim) is ClaimStatus.CONFIRMED
                assert node.prestart(claim.owner.device_ids) is None
                assert node.parts.ledger.granted(claim.id) is not None
                assert claim.seats == granted[claim.id].seats
        assert instances(scene) == {each.mig_uuid for claim in after.values() for each in claim.seats}
    # Ledger and NVML agree, but for the instance that others made and a claim holds.
    assert [each.kind for each in repair_plan(scene.paths)[0]] == ["foreign"]


def test_claims_end_with_their_pods_and_nothing_in_use_is_destroyed(scene, world):
    """What was made for a claim goes with it; what others made, an operator holds or a process uses stays."""
    facts = read_facts(scene.paths)
    by_pod = {claim.owner.name: claim for claim in facts.claims if claim.owner is not None}
    operators = {each.mig_uuid for claim in facts.claims if claim.owner is None for each in claim.seats}
    used = by_pod["early"].seats[0].mig_uuid
    user = scene.use(used)
    found = {each.mig_uuid for each in by_pod["pair"].seats if not each.made}
    with running(scene, world, **SHARED) as node:
        for name in RUNNING:
            world.end(name)
        left = reconciled(node)
        assert {claim.owner.name for claim in left.values() if claim.owner is not None} == {"early"}
        assert instances(scene) == operators | found | {used}
        user.communicate()
        left = reconciled(node)
        assert {claim.operator_name for claim in left.values()} == {"training", "found.1"}
        assert instances(scene) == operators | found


def test_new_claims_are_numbered_on(scene, world):
    """A pod that comes after the take-over has a claim of its own, beside all of before."""
    with running(scene, world, **SHARED) as node:
        before = reconciled(node)
        world.add("late")
        free = [each.device_id for each in node.devices() if each.gpu_uuid == node.view.gpus[1].gpu.uuid]
        held = {each for claim in before.values() if claim.owner for each in claim.owner.device_ids}
        outcome = node.allocate([next(each for each in free if each not in held)])
        assert outcome.claim > max(claim.id for claim in before.values())
        assert set(claims(node)) == {*before, f"default/late/main:{outcome.claim}"}
