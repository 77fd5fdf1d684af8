# SPDX-License-Identifier: Apache-2.0
"""When kubelet is asked what it holds: a List beside a call that it waits for has made real kubelets panic."""

import functools
import threading

import pytest
from support.nodes import World
from support.waiting import is_waited_for, until

from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import Grant
from hamid.core.pods.pods import Holding, HoldingList
from hamid.engine.pods.kubelet_lists import HoldingsGate

LISTED = HoldingList(
    holdings=(Holding(namespace="ns", pod="job", container="main", resource="nvidia.com/gpu", device_ids=("a",)),),
    complete=True,
)


class Source:
    """Kubelet's holdings; counts how often it was asked."""

    def __init__(self):
        self.asked = 0

    def holdings(self):
        self.asked += 1
        return LISTED


@pytest.fixture
def source():
    return Source()


def test_a_list_waits_until_nobody_is_being_answered(source):
    """A caller in the meantime gets an answer that is not older than its question."""
    polite, found = HoldingsGate(source, tuple, patience_seconds=3600.0), []
    with polite.answering(), polite.answering():
        late = threading.Thread(target=lambda: found.append(polite.holdings()))
        late.start()
        until(lambda: is_waited_for(polite._quiet))
        assert source.asked == 0
    late.join()
    assert found == [LISTED]
    assert source.asked == 1


def test_answers_without_an_end_delay_a_list_and_do_not_prevent_it(source):
    """Release must go on where pods are admitted one upon the other."""
    polite = HoldingsGate(source, tuple, patience_seconds=0.01)
    with polite.answering():
        assert polite.holdings() == LISTED


class Listed(World):
    """A kubelet that notes when it is asked."""

    lists = 0

    def holdings(self):
        self.lists += 1
        return super().holdings()


def test_neither_a_preference_nor_an_allocation_lists_what_kubelet_holds(make_node):
    """While kubelet waits for them a List is what makes it panic."""
    world = Listed()
    node = make_node("1xA100-SXM4-40GB", world=world)
    before = world.lists
    chosen = node.prefer(tuple(each.device_id for each in node.devices()), (), 1)
    assert isinstance(node.allocate(chosen), Grant)
    assert node.prestart(chosen) is None
    assert world.lists == before > 0


def test_what_others_gave_is_known_and_what_we_gave_is_not_taken_for_it(source):
    """A name may come again within seconds (a StatefulSet's pod): our own claims tell by uid whose they are."""
    owner = PodOwner(
        uid="u",
        resource="nvidia.com/gpu",
        device_ids=("a",),
        request=ContainerRequest(count=1),
        granted_at=1.0,
        boot_id="boot",
    )
    for claims, others in (((), LISTED.holdings), ((Claim(id=1, owner=owner),), ())):
        polite = HoldingsGate(source, functools.partial(next, iter([claims, ()])))
        assert polite.holdings() == LISTED
        assert polite.foreign().holdings == others
    assert source.asked == 2
