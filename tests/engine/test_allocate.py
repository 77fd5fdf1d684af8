# SPDX-License-Identifier: Apache-2.0
"""Allocate on the simulated driver: what a container gets, what is left of a refusal, what others notice of it."""

import pytest
import structlog

from hamid.core.asked import Asked
from hamid.core.config import Config, Mode
from hamid.core.grant import Grant
from hamid.core.identity import Identified
from hamid.core.request import MemoryMatch, Policy
from hamid.engine.counters import Counters
from hamid.engine.node import Node

PACKED = {"mode": Mode.MIG, "policy": Policy.PACKED, "memory_match": MemoryMatch.NVML}


class Wants:
    """Identifies every caller as nobody who asks for `memory_mib`."""

    def __init__(self, memory_mib=4000):
        self.memory_mib = memory_mib

    def __call__(self, pods, holdings, claims, device_ids):
        return Identified(pod=None, container=None, asked=Asked(count=len(device_ids), memory_mib=self.memory_mib))


@pytest.fixture
def make_node(make_scene):
    """A started node of hamid on a simulated one."""
    made = []

    def make(spec, *, wants=None, scene=None, **settings):
        scene = scene or make_scene(spec)
        config = Config(**{**PACKED, **settings})
        node = Node(scene.paths, config, identify=wants or Wants(), log=structlog.get_logger(), counters=Counters())
        made.append(node)
        node.start()
        node.scene = scene
        return node

    yield make
    for node in made:
        node.close()


def test_a_container_gets_an_instance_that_did_not_exist(make_node):
    """On an idle GPU one Allocate makes the instance, names it and its device nodes, and the ledger agrees."""
    node = make_node("1xA100-SXM4-40GB")
    (device, *_) = node.devices()
    grant = node.allocate([device.device_id])
    assert isinstance(grant, Grant), grant
    (instance,) = node.view.snapshot.gpus[0].instances
    assert grant.envs == {"NVIDIA_VISIBLE_DEVICES": instance.mig_uuid}
    assert instance.claim == grant.claim
    assert [claim.name for claim in node.view.claims] == [grant.claim]
    node.undo(grant.claim)
    assert node.view.claims == ()
    assert node.scene.instances() == []
