# SPDX-License-Identifier: Apache-2.0
"""Nodes for the tests of the engine."""

import gc
import tempfile
from pathlib import Path

import pytest
from support.nodes import open_node
from support.scene import PLACE, Scene

from hamid.engine.node import Node
from hamid.node.simulation import control

control.preload()


@pytest.fixture
def make_scene(monkeypatch):
    """Makes one node, which is the one that NVML sees, and ends it after the test."""
    made: list[Scene] = []
    gc.collect()
    gc.freeze()  # what is there now is never collected again, so that forks share its pages
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:

        def make(spec):
            monkeypatch.setenv("HAMI_SIM_STATE", "")
            made.append(Scene(Path(folder) / str(len(made)), spec))
            return made[-1]

        yield make
        for scene in made:
            scene.close()


@pytest.fixture
def make_node(make_scene):
    """A started node of hamid on a simulated one; an earlier one on the same scene is closed."""
    made: list[Node] = []

    def make(spec=None, *, world=None, scene=None, prepare=lambda scene: None, **settings):
        if scene is not None:
            made.pop().close()
        scene = scene or make_scene(spec)
        prepare(scene)
        node = open_node(scene, world, **settings)
        made.append(node)
        node.start()
        node.scene = scene
        return node

    yield make
    for node in made:
        node.close()
