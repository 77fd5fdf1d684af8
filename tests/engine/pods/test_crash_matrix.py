# SPDX-License-Identifier: Apache-2.0
"""hamid is killed at every mutation and every write of a grant's life; the next start leaks and harms nothing."""

from dataclasses import dataclass
from functools import partial

import pytest
from support.crash_cases import reach
from support.nodes import (
    SHARE,
    World,
    destroy_all,
    foreign,
    ids,
    install_library,
    lose_ledger,
    remember,
    running,
    told,
)
from support.nodes import grant as grant_to
from support.scene import in_child, kills, under

from hamid.core.pods.pods import Container
from hamid.engine.steps.recover import recover

NO_RESOURCES = "error:23"


def grant(scene, count=1, memory_mib=4000, **settings):
    """An Allocate of `count` ids for pod `job`, as a function."""

    def work():
        world = World(memory_mib)
        world.add("job")
        with running(scene, world, **settings) as node:
            node.allocate(ids(node, count))

    return work


def nothing(scene):
    """The node once hamid has set its modes."""
    assert not in_child(start(scene), lambda: None)


def picture(scene):
    """The node's state; a claim's number tells only how many there were before."""
    modes, instances, claims = scene.picture()
    return modes, instances, tuple((name.rpartition(":")[0], seats) for name, seats in claims)


def granted(count=1, memory_mib=4000, **settings):
    """Prepares a node on which pod `job` holds what it was granted."""

    def prepare(scene):
        assert not in_child(grant(scene, count, memory_mib, **settings), lambda: None)
        assert scene.facts().claims

    return prepare


def undo(scene, **settings):
    """The grant is taken back."""

    def work():
        with running(scene, **settings) as node:
            for claim in node.view.claims:
                node.undo(claim.id)

    return work


def release(scene, **settings):
    """Pod `job` is terminal, so that reconciliation releases its claim."""

    def work():
        world = World()
        world.add("job", phase="Succeeded")
        with running(scene, world, **settings) as node:
            node.reconcile()

    return work


INIT, MAIN = Container(name="setup", init=True), Container(name="main")


def by_init(scene):
    """The init container of pod `job` holds a share."""
    library(scene)
    assert not in_child(of_job(scene, INIT), lambda: None)


def of_job(scene, container=MAIN):
    """A container of pod `job` gets the same ids as its init container."""

    def work():
        world = World()
        world.asking = (world.add("job", INIT, MAIN), container)
        with running(scene, world, **SHARE) as node:
            node.allocate([node.devices()[0].device_id])

    return work


def rebooted(*parts):
    def prepare(scene):
        for part in parts:
            part(scene)
        scene.reboot()

    return prepare


def start(scene, **settings):
    """Hamid starts and restores."""

    def work():
        with running(scene, **settings):
            pass

    return work


def lost(scene):
    """Another program destroys the container's instance."""
    granted()(scene)
    destroy_all(scene)


def lost_foreign(scene):
    """The container reuses a foreign instance, which another program destroys."""
    assert not in_child(lambda: foreign("1g.6gb@0")(scene), lambda: None)
    lost(scene)


def forgotten(scene):
    """Two pods hold instances, kubelet remembers it, and the ledger is lost."""

    def work():
        world = World()
        with running(scene, world) as node:
            for name in ("job", "other"):
                grant_to(node, world, name)
            remember(scene, *told(node))

    assert not in_child(work, lambda: None)
    lose_ledger(scene)


def prestart(scene):
    """The container starts again."""

    def work():
        with running(scene) as node:
            (claim,) = node.view.claims
            node.prestart(claim.owner.device_ids)

    return work


def folders_of(scene):
    """The containers' directories."""
    folder = scene.root / "usr/local/vgpu/containers"
    return {each.name for each in folder.iterdir()} if folder.exists() else set()


def idle_ones(scene):
    """Idle instances of ours leave room for no large one."""
    assert not in_child(lambda: reach({0: "1g.6gb@0,1g.6gb@2"})(scene), lambda: None)


def library(scene):
    """A libvgpu is installed."""
    install_library(scene)
    assert not in_child(start(scene, **SHARE), lambda: None)


def shared(scene):
    """Pod `job` holds a share."""
    library(scene)
    granted(**SHARE)(scene)


@dataclass(frozen=True)
class Case:
    name: str
    spec: str
    before: object
    work: object
    faults: str = ""


A30, A100, H100 = "1xA30", "1xA100-SXM4-40GB", "1xH100-80GB-SXM5"
CASES = (
    Case("allocate one", A30, nothing, grant),
    Case("allocate two on two GPUs", "2xA30", nothing, partial(grant, count=2, memory_mib=20000)),
    Case("allocate, with an idle instance that gives way", A30, idle_ones, partial(grant, memory_mib=11000)),
    Case("allocate a share", A30, library, partial(grant, **SHARE)),
    Case("allocate of a share that an init container had", A30, by_init, of_job),
    Case("undo of a share", A30, shared, partial(undo, **SHARE)),
    Case(
        "allocate that fails half-way",
        A30,
        nothing,
        partial(grant, count=3),
        f"nvmlGpuInstanceCreate*#2={NO_RESOURCES}",
    ),
    Case("undo of two", A30, granted(2), undo),
    Case("release of two", A30, granted(2), release),
    Case("restore after a reboot", A100, rebooted(granted(2)), start),
    Case("restore after a reboot, mode included", H100, rebooted(granted(2, 9000)), start),
    Case("start of a container whose instance is gone", A30, lost, prestart),
    Case("start of a container whose foreign instance is gone", A30, lost_foreign, prestart),
    Case("start of hamid after a lost ledger", A30, forgotten, start),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kill_at_any_point_of_a_grants_life(case, make_scene, record_property):
    """After a kill at any point nothing is leaked or half-made, and the next hamid ends what this one began."""
    record_property("kills", prove(case, make_scene, reads=False))


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kill_at_any_call_of_a_grants_life(case, make_scene, record_property):
    """The same at every driver call there is, those included that only read."""
    record_property("kills", prove(case, make_scene, reads=True))


def prove(case, make_scene, *, reads):
    """Kills the case at every point and judges each time; how often it was killed."""
    scene = make_scene(case.spec)
    case.before(scene)
    scene.save()
    before = picture(scene)
    work = under(case.faults, case.work(scene))
    assert not in_child(work, lambda: None)
    after = picture(scene)
    scene.put_back()

    def judge():
        recover(scene.paths)
        assert recover(scene.paths) == []
        claims = scene.facts().claims
        assert not any(claim.pending for claim in claims)
        if not case.name.startswith(("restore", "start of")):
            scene.assert_agreed()
            assert picture(scene) in (before, after)
        # The next hamid does what was interrupted.
        assert not in_child(case.work(scene), lambda: None)
        scene.assert_agreed()
        if case.name.startswith(("restore", "start of")):
            assert picture(scene) == after
        if case.work is prestart:
            # What was made again goes with its claim.
            assert not in_child(release(scene), lambda: None)
            assert scene.instances() == []
        claims = [claim for claim in scene.facts().claims if claim.shares]
        assert folders_of(scene) <= {name for claim in claims for name in claim.owner.folders}
        if "init container" not in case.name:
            assert folders_of(scene) == {claim.owner.folder for claim in claims}

    found = kills(scene, work, judge, reads=reads)
    assert found[0] >= 6
    return found
