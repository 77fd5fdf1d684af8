# SPDX-License-Identifier: Apache-2.0
"""Nodes with hamid."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the process under test, which the modules here share

from running import Hamid


@pytest.fixture
def hamid(monkeypatch):
    """Makes nodes with hamid; all ends with the test."""
    made = []
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
