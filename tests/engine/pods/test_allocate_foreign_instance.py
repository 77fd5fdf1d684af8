# SPDX-License-Identifier: Apache-2.0
"""Foreign instances are kept, reused or reclaimed as the operator configured."""

from support.nodes import World, foreign, ids

from hamid.core.claims.grant import Grant
from hamid.core.claims.journal import Goal
from hamid.core.claims.pod_text import for_pod
from hamid.core.config.config import ForeignInstances
from hamid.core.errors import ForeignInstance
from hamid.core.planner.plan import recreate
from hamid.core.planner.refusal import Refusal
from hamid.engine.steps.run import Running, roll_back

SEVEN = ",".join(f"1g.5gb@{start}" for start in range(7))


def uuids(node):
    """The instances of the first GPU by start."""
    return {each.placement.start: each.mig_uuid for each in node.scene.observe().gpus[0].instances}


def test_an_idle_foreign_instance_is_given_away_and_stays(make_node):
    """Reuse: a request gets the foreign instance; when the claim ends the instance is still there."""
    node = make_node("1xA100-SXM4-40GB", prepare=foreign("1g.5gb@3"))
    before = uuids(node)
    granted = node.allocate(ids(node))
    assert isinstance(granted, Grant)
    assert granted.envs["NVIDIA_VISIBLE_DEVICES"] == before[3]
    node.undo(granted.claim)
    assert uuids(node) == before


def test_what_was_brought_back_after_a_reboot_goes_with_its_claim(make_node):
    """A foreign instance went with the reboot; the one that was made in its place is ours, and ends with the pod."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world, prepare=foreign("1g.5gb@3"))
    scene = node.scene
    world.add("job")
    granted = node.allocate(ids(node))
    assert isinstance(granted, Grant)
    assert set(uuids(node)) == {3}
    scene.reboot()
    node = make_node(world=world, scene=scene)
    assert set(uuids(node)) == {3}
    node.undo(granted.claim)
    assert uuids(node) == {}


def test_foreign_instances_are_kept_where_the_operator_says_so(make_node):
    """Keep: they are neither granted nor destroyed, and the refusal names them."""
    keep = {"foreign_instances": ForeignInstances.KEEP}
    node = make_node("1xA100-SXM4-40GB", prepare=foreign("1g.5gb@3"), **keep)
    before = uuids(node)
    granted = node.allocate(ids(node))
    assert isinstance(granted, Grant)
    assert granted.envs["NVIDIA_VISIBLE_DEVICES"] not in before.values()
    node.undo(granted.claim)
    assert uuids(node) == before


def test_foreign_instances_in_the_way_are_named_with_the_command(make_node):
    """Reuse: idle ones that do not fit are left, and the refusal says what would reclaim them."""
    node = make_node("1xA100-SXM4-40GB", world=World(memory_mib=19000), prepare=foreign(SEVEN))
    before = uuids(node)
    outcome = node.allocate(ids(node))
    assert isinstance(outcome, Refusal)
    assert "hamictl mig repair --reclaim-idle -i 0" in for_pod(outcome).hint
    assert uuids(node) == before


def test_idle_foreign_instances_are_reclaimed_where_the_operator_says_so(make_node):
    """Reclaim: idle ones give way, one that a process uses does not."""
    reclaim = {"foreign_instances": ForeignInstances.RECLAIM}
    node = make_node("1xA100-SXM4-40GB", world=World(memory_mib=19000), prepare=foreign(SEVEN), **reclaim)
    before = uuids(node)
    node.scene.use(before[0])
    node.observe()
    granted = node.allocate(ids(node))
    assert isinstance(granted, Grant), granted
    after = uuids(node)
    assert after[0] == before[0]
    assert granted.envs["NVIDIA_VISIBLE_DEVICES"] == after[4]
    assert set(after) <= {0, 1, 2, 3, 4}


def test_an_instance_that_others_create_at_the_planned_placement_stays_theirs(make_node):
    """Another program was faster: the step fails, and the instance does not become hamid's."""
    node = make_node("1xA100-SXM4-40GB", prepare=foreign("1g.5gb@3"))
    before = uuids(node)
    (gpu,) = node.scene.observe().gpus
    steps = (recreate(gpu, gpu.instances[0]),)
    session, ledger = node.parts.session, node.parts.ledger
    run = ledger.begin_run(steps, goal=Goal.ALL)
    running = Running(session, run)
    running.go(enumerate(steps))
    assert [type(error) for error in running.errors] == [ForeignInstance]
    assert roll_back(session, running, run)
    assert uuids(node) == before
    assert ledger.facts().own == ()
