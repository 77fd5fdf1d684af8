# SPDX-License-Identifier: Apache-2.0
"""An init container's claim is handed on to the next container of its pod; older answers of kubelet change nothing."""

import pytest
from msgspec.structs import replace
from support.nodes import LateWorld, ids

from hamid.core.claims.grant import Grant
from hamid.core.pods.pods import Container


@pytest.fixture
def world():
    return LateWorld()


@pytest.fixture
def begun(world, make_node):
    """A node on which the init container of pod `job` was granted ids; the ids, and `hand_on` to the app container."""
    node = make_node("1xA100-SXM4-40GB", world=world)
    init, main = Container(name="setup", init=True), Container(name="main")
    pod = world.add("job", init, main)
    world.asking = (pod, init)
    chosen = ids(node)
    assert isinstance(node.allocate(chosen), Grant)

    def hand_on():
        world.asking = (pod, main)
        assert isinstance(node.allocate(chosen), Grant)

    return node, chosen, hand_on


def test_a_list_of_holdings_says_nothing_of_a_claim_that_was_handed_on_after_it(world, begun):
    """The list named the init container before kubelet called Allocate for the app container: that one is the owner."""
    node, chosen, hand_on = begun
    world.hold("job", chosen, container="setup")
    world.meanwhile["holdings"] = hand_on
    node.reconcile()
    (claim,) = node.view.claims
    assert (claim.owner.container, claim.owner.confirmed) == ("main", False)


def test_a_confirmation_never_undoes_a_hand_on(begun):
    """A confirmed owner is recorded only while the owner that was read is still the owner."""
    node, _, hand_on = begun
    ledger = node.parts.ledger
    (read,) = node.view.claims
    hand_on()
    assert not ledger.confirm(read, replace(read.owner, confirmed=True))
    (claim,) = ledger.facts().claims
    assert ledger.confirm(claim, replace(claim.owner, confirmed=True))
    (claim,) = ledger.facts().claims
    assert (claim.owner.container, claim.owner.confirmed) == ("main", True)
