# SPDX-License-Identifier: Apache-2.0
"""A full node on which one pod takes the place of another, while kubelet, waiting for us, tells nothing new."""

import shutil
import threading

import pytest
from msgspec.structs import replace
from support.nodes import World, ids

from hamid.core.claims.grant import Grant
from hamid.core.planner.refusal import Refusal, RefusalCode

WHOLE = 20000


@pytest.fixture
def full(make_node):
    """A node whose only GPU one confirmed pod has; what hurries it makes it reconcile."""
    world = World(memory_mib=WHOLE)
    # A wait for the deadline would be longer than this test may take.
    node = make_node("1xA30", world=world, allocate_deadline_seconds=3600.0)
    world.add("old")
    first = ids(node)
    assert isinstance(node.allocate(first), Grant)
    world.hold("old", first)
    node.reconcile()
    ended, hurried = threading.Event(), threading.Event()
    node.listen_for_hurry(hurried.set)

    def keep_going():
        while not ended.is_set():
            if hurried.wait(0.1):
                hurried.clear()
                node.reconcile()

    supervisor = threading.Thread(target=keep_going)
    supervisor.start()
    yield node, world
    ended.set()
    supervisor.join()


def in_its_place(node, world):
    """The answer to the pod that comes after."""
    world.add("new")
    return node.allocate(ids(node))


def test_a_pod_that_was_seen_deleted_gives_its_room_to_the_next_one(full):
    """While it is listed nothing is released; once it is gone its claim ends without a wait of 30 s."""
    node, world = full
    world.known["old"] = replace(world.known["old"], deleted=True)
    node.reconcile()
    assert len(node.view.claims) == 1
    world.remove("old")
    assert isinstance(in_its_place(node, world), Grant)


def test_a_pod_whose_cgroup_kubelet_took_away_gives_its_room_to_the_next_one(full):
    """Deleted and ended between two readings, as most pods are."""
    node, world = full
    cgroup = node.scene.root / "sys/fs/cgroup/memory/kubepods/poduid-old"
    cgroup.mkdir(parents=True)
    node.reconcile()
    world.remove("old")
    shutil.rmtree(cgroup)
    assert isinstance(in_its_place(node, world), Grant)


def test_a_pod_that_is_only_missing_keeps_its_room_and_kubelet_is_not_held_up(full):
    """Kubelet admits and forgets no pod while it waits, so the answer comes long before the deadline."""
    node, world = full
    world.remove("old")
    outcome = in_its_place(node, world)
    assert isinstance(outcome, Refusal)
    assert outcome.code is RefusalCode.NO_FIT
    assert [claim.owner.name for claim in node.view.claims] == ["old"]
