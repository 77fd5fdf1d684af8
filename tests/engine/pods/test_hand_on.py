# SPDX-License-Identifier: Apache-2.0
"""An init container's claim is handed on to the container that comes after it, whatever kubelet told before."""

from collections.abc import Callable

from msgspec.structs import replace
from support.nodes import World, ids

from hamid.core.claims.grant import Grant
from hamid.core.pods.pods import Container


class LateHoldings(World):
    """Its next list of holdings arrives late: what `meanwhile` does, happens after kubelet made the list."""

    meanwhile: Callable[[], None] | None = None

    def holdings(self):
        answer, work, self.meanwhile = super().holdings(), self.meanwhile, None
        if work is not None:
            work()
        return answer


def test_a_list_of_holdings_says_nothing_of_a_claim_that_was_handed_on_after_it(make_node):
    """Kubelet told that the init container holds the ids, and asked for the app container: the claim is that one's."""
    world = LateHoldings()
    node = make_node("1xA100-SXM4-40GB", world=world)
    init, main = Container(name="setup", init=True), Container(name="main")
    pod = world.add("job", init, main)
    world.asking = (pod, init)
    chosen = ids(node)
    assert isinstance(node.allocate(chosen), Grant)
    world.hold("job", chosen, container="setup")

    def hand_on():
        world.asking = (pod, main)
        assert isinstance(node.allocate(chosen), Grant)

    world.meanwhile = hand_on
    node.reconcile()
    (claim,) = node.view.claims
    assert (claim.owner.container, claim.owner.confirmed) == ("main", False)


def test_a_confirmation_never_undoes_a_hand_on(make_node):
    """What kubelet says of the owner that was read is written only while it is the owner."""
    world = World()
    node = make_node("1xA100-SXM4-40GB", world=world)
    init, main = Container(name="setup", init=True), Container(name="main")
    pod = world.add("job", init, main)
    world.asking = (pod, init)
    chosen = ids(node)
    assert isinstance(node.allocate(chosen), Grant)
    (read,) = node.view.claims
    world.asking = (pod, main)
    assert isinstance(node.allocate(chosen), Grant)
    assert not node.parts.ledger.confirm(read, replace(read.owner, confirmed=True))
    (claim,) = node.parts.ledger.facts().claims
    assert node.parts.ledger.confirm(claim, replace(claim.owner, confirmed=True))
    (claim,) = node.parts.ledger.facts().claims
    assert (claim.owner.container, claim.owner.confirmed) == ("main", True)
