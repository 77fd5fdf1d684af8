# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from importlib import resources

import pytest

from hamid.node.simulation import control

control.preload()  # before pynvml looks for its library

import pynvml  # noqa: E402  # see above
from support import cudatools  # noqa: E402  # see above

VARIABLES = ("HAMI_SIM_STATE", "HAMI_SIM_NODE", "HAMI_SIM_FAULTS")


@pytest.fixture(scope="session")
def board_data():
    """The board data as a reader of its own, independent of the C table, sees it."""
    text = resources.files("hamid").joinpath("data/mig-profiles.json").read_text(encoding="utf-8")
    gpus = json.loads(text)["gpus"]
    return {key: {**gpus.get(board.get("same_as"), {}), **board} for key, board in gpus.items()}


@pytest.fixture
def clean_environment(monkeypatch):
    """No simulator variable of the caller's shell is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def make_state(tmp_path, clean_environment):
    """Makes state files of nodes and points the environment at the latest."""

    def make(spec):
        path = tmp_path / f"node{sum(1 for _ in tmp_path.iterdir())}"
        control.create(path, spec)
        clean_environment.setenv("HAMI_SIM_STATE", str(path))
        return path

    return make


@pytest.fixture
def node(make_state):
    """Opens a node through nvidia-ml-py; every init is undone at the end."""
    opened = []

    def start(spec):
        path = make_state(spec)
        pynvml.nvmlInit()
        opened.append(path)
        return path

    yield start
    for _ in opened:
        pynvml.nvmlShutdown()


@pytest.fixture
def mig_gpu(node):
    """A GPU with MIG on, alone on its node."""

    def start(board, index=0, count=1):
        node(f"{count}x{board}")
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        assert pynvml.nvmlDeviceSetMigMode(device, 1) == pynvml.NVML_SUCCESS
        return device

    return start


@pytest.fixture
def cuda():
    """Starts CUDA clients on a node; all of them are ended after the test."""
    started = []

    def start(state, *, opened=True, **more):
        started.append(cudatools.Client(state, **more))
        if opened:
            started[-1]("d.open()")
        return started[-1]

    yield start
    for client in started:
        client.kill()
