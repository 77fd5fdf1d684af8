# SPDX-License-Identifier: Apache-2.0
"""A lost instance is recreated for its claim, and not once the claim has ended."""

import pytest
from msgspec.structs import replace
from support.nodes import World, destroy_all, foreign, grant, names, open_node
from support.scene import apart

from hamid.core.claims.journal import Goal
from hamid.core.claims.restore import missing_steps
from hamid.core.errors import StalePlan
from hamid.engine.driver.session import DriverSession
from hamid.engine.steps.run import Running, finish_each
from hamid.node.simulation import control

BOARDS = ["1xA100-SXM4-40GB", "1xH100-80GB-SXM5"]


def lost(node):
    """The steps that bring back what the claims of a node hold, of which nothing is there any more."""
    destroy_all(node.scene)
    node.reconcile()
    steps = tuple(missing_steps(node.parts.readings.gpus(), node.parts.ledger.facts().claims))
    assert steps
    return steps


def assert_empty(node):
    """No instance lies on any GPU, and the ledger has none."""
    assert [each for gpu in node.scene.observe().gpus for each in gpu.instances] == []
    assert node.scene.facts().own == ()


@pytest.mark.parametrize("spec", BOARDS)
def test_what_was_lost_is_made_again_while_the_claim_lasts(make_node, spec):
    """The same steps that are refused after the end of the claim bring its instances back before."""
    world = World()
    node = make_node(spec, world=world)
    grant(node, world, "a", count=2)
    running = node.parts.runs.carry_out(lost(node))
    assert running.errors == []
    assert len(node.scene.observe().gpus[0].instances) == 2


@pytest.mark.parametrize("spec", BOARDS)
def test_nothing_is_made_again_for_a_claim_that_ended_meanwhile(make_node, spec):
    """A restore that was decided on before its claim was released creates nothing, and says why."""
    world = World()
    node = make_node(spec, world=world)
    grant(node, world, "a")
    steps = lost(node)
    world.end("a")
    node.reconcile()
    assert names(node) == []
    (error,) = node.parts.runs.carry_out(steps).errors
    assert isinstance(error, StalePlan)
    assert "no claim holds it any more" in error.message
    assert_empty(node)


def test_nothing_is_made_again_for_a_claim_that_is_ending(make_scene):
    """One of its two GPUs does not answer, so its end stays open: what is gone of it on the other one stays gone."""
    scene, world = make_scene("2xA30"), World(20000)

    def work():
        node = open_node(scene, world, driver_timeout_seconds=0.5)
        node.start()
        grant(node, world, "a", count=2)
        gpus = [replace(gpu, instances=()) for gpu in node.parts.readings.gpus()]
        steps = tuple(missing_steps(gpus, node.view.claims))
        assert [step.gpu_index for step in steps] == [0, 1]
        control.add_fault("nvmlGpuInstanceDestroy@1=hang", state=scene.state)
        world.end("a")
        for _ in range(3):
            node.reconcile()
            (claim,) = node.view.claims
            assert node.parts.ledger.ending() == {claim.id}
            assert len(node.parts.ledger.open_runs()) == 1
        (error,) = node.parts.runs.carry_out(steps[:1]).errors
        assert isinstance(error, StalePlan)
        assert node.parts.readings.gpus()[0].instances == ()

    apart(work)


@pytest.mark.parametrize("made", [True, False])
def test_a_claim_that_ends_while_its_instance_is_being_made_leaves_none(make_node, made):
    """The end begins between the creation and its last line; not `made`: the claim began with a foreign instance."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world, prepare=(lambda _: None) if made else foreign("1g.5gb@3"))
    grant(node, world, "a")
    steps, (claim,) = lost(node), node.view.claims
    assert [each.made for each in claim.seats] == [made]
    ledger, uuids = node.parts.ledger, {gpu.uuid: gpu.index for gpu in node.scene.observe().gpus}
    begun: list[int | None] = []

    def end(gpu):
        if gpu.instances and not begun:
            begun.append(ledger.begin_ending(claim.id, uuids))

    with DriverSession(node.scene.paths, ledger=ledger, on_read=end) as session:
        session.observe()
        number = ledger.begin_run(steps, goal=Goal.EACH)
        restore = Running(session, number, goal=Goal.EACH)
        finish_each(session, restore, ledger.run(number))
        assert [type(each) for each in restore.errors] == [StalePlan]
        ending = ledger.run(begun[0])
        finish_each(session, Running(session, ending.run, goal=Goal.EACH, claim=claim.id), ending)
    assert ledger.open_runs() == ()
    assert ledger.facts().claims == ()
    assert_empty(node)


@pytest.mark.parametrize("ending_first", [True, False])
def test_a_restore_and_an_end_that_a_dead_process_left_make_nothing(make_node, ending_first):
    """The next start ends both, begun in either order, and no instance is left."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    steps, (claim,) = lost(node), node.view.claims
    ledger = node.parts.ledger
    begin = [lambda: ledger.begin_run(steps, goal=Goal.EACH), lambda: ledger.begin_ending(claim.id, {})]
    for each in reversed(begin) if ending_first else begin:
        each()
    again = make_node(world=world, scene=node.scene)
    assert names(again) == []
    assert_empty(again)


def test_nothing_is_made_again_for_a_claim_that_is_still_being_made(make_node):
    """An Allocate makes its own instances and takes them back when it fails: a restore beside it makes none."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    grant(node, world, "a")
    steps, (claim,) = lost(node), node.view.claims
    world.end("a")
    node.reconcile()
    node.parts.ledger.begin_grant(claim.owner, steps, seats=claim.seats)
    (error,) = node.parts.runs.carry_out(steps).errors
    assert isinstance(error, StalePlan)
    assert_empty(node)
