# SPDX-License-Identifier: Apache-2.0
"""Nodes with hamid, and device plugins over plain values beside a kubelet stand-in."""

import shutil
import tempfile
from pathlib import Path

import pytest
import structlog
from support.plugin import PlainNode, PluginThread
from support.running import Hamid

from hamid.serve.plugin.registration import DevicePlugin
from hamid.testing.kubelet import Kubelet


@pytest.fixture
def hamid(monkeypatch):
    """Makes nodes with hamid; all ends with the test."""
    made: list[Hamid] = []
    # Short, since the names of sockets are.
    folder = Path(tempfile.mkdtemp(prefix="hd"))

    def make(spec="2xA100-SXM4-40GB", *, kubelet=True):
        place = folder / str(len(made))
        place.mkdir()
        made.append(Hamid(place, spec))
        monkeypatch.setenv("HAMI_SIM_STATE", "")
        if kubelet:
            made[-1].kubelet.start()
        # For observations by this process; hamid itself gets --sim.
        monkeypatch.setenv("HAMI_SIM_STATE", str(made[-1].state))
        return made[-1]

    yield make
    for each in made:
        each.close()
    shutil.rmtree(folder)


@pytest.fixture
def place():
    """A folder whose path leaves room for the names of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hk"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def kubelet(place):
    with Kubelet(place) as running:
        yield running


@pytest.fixture
def plain():
    return PlainNode()


@pytest.fixture
def serve(place):
    """Starts device plugins over a node; they end with the test."""
    running = []

    def start(node, **options):
        options = {"kubelet_dir": place, "log": structlog.get_logger(), **options}
        running.append(PluginThread(lambda: DevicePlugin(node, **options)))
        return running[-1]

    yield start
    for each in running:
        each.stop()
