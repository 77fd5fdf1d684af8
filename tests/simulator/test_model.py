# SPDX-License-Identifier: Apache-2.0
"""The C simulator against an independent model, over random histories on every board."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import ClassVar

import pynvml
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support import migtools
from support.placement_model import Model

from hamid.node.simulation import control

KEYS = sorted({board.key for board in control.boards()})


class GpuMachine(RuleBasedStateMachine):
    """Drives one GPU of a board through nvidia-ml-py and through the model."""

    key = ""
    board: ClassVar[dict[str, object]] = {}

    def __init__(self):
        super().__init__()
        self.model = Model(self.board)
        self.directory = tempfile.TemporaryDirectory()
        state = Path(self.directory.name) / "node"
        control.create(state, f"1x{self.key}")
        os.environ["HAMI_SIM_STATE"] = str(state)
        pynvml.nvmlInit()
        self.device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceSetMigMode(self.device, 1)
        self.handles = {}

    def attempt(self, profile_id, start, expected):
        size = self.model.size(profile_id)
        try:
            handle = migtools.create(self.device, profile_id, start, size if start is not None else None)
        except pynvml.NVMLError_InsufficientResources:
            assert expected is None
            return
        identity = self.model.identity(profile_id, expected)
        assert migtools.info(handle) == (identity, profile_id, expected, size)
        self.model.live[identity] = (profile_id, expected)
        self.handles[identity] = handle

    @rule(data=st.data())
    def create_by_default(self, data):
        profile_id = data.draw(st.sampled_from(sorted(self.model.rows)))
        self.attempt(profile_id, None, self.model.choice(profile_id))

    @rule(data=st.data())
    def create_at(self, data):
        profile_id = data.draw(st.sampled_from(sorted(self.model.rows)))
        start = data.draw(st.sampled_from(self.model.starts(profile_id)))
        fits = self.model.fits(list(self.model.live.values()), profile_id, start)
        self.attempt(profile_id, start, start if fits else None)

    @rule(data=st.data())
    def destroy(self, data):
        if self.handles:
            identity = data.draw(st.sampled_from(sorted(self.handles)))
            pynvml.nvmlGpuInstanceDestroy(self.handles.pop(identity))
            del self.model.live[identity]

    @invariant()
    def capacity_agrees(self):
        for profile_id in self.model.rows:
            found = pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(self.device, profile_id)
            assert found == self.model.room(profile_id)

    @invariant()
    def lists_agree(self):
        found = {migtools.info(handle)[0] for handle in migtools.all_instances(self.device)}
        assert found == set(self.model.live)

    def teardown(self):
        pynvml.nvmlShutdown()
        self.directory.cleanup()


def run(key, board_data, *, examples, steps):
    """Runs the machine of a board with a number of histories."""
    profile = settings(max_examples=examples, stateful_step_count=steps)
    machine = type("Machine", (GpuMachine,), {"key": key, "board": board_data[key]})
    run_state_machine_as_test(machine, settings=profile)


@pytest.mark.parametrize("key", KEYS)
def test_random_histories_agree_with_the_model(clean_environment, board_data, key):
    """Starts, ids, capacities and lists agree with the model after every step, on every board."""
    clean_environment.setenv("HAMI_SIM_STATE", "")
    run(key, board_data, examples=12, steps=25)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("key", KEYS)
def test_long_random_histories_agree_with_the_model(clean_environment, board_data, key):
    """The same over a thousand histories a board."""
    clean_environment.setenv("HAMI_SIM_STATE", "")
    run(key, board_data, examples=1000, steps=50)
