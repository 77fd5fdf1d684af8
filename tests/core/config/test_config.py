# SPDX-License-Identifier: Apache-2.0
import pytest
from support.values import gpu

from hamid.core.config.config import Config, Mode, nearest

GPU = gpu(index=3)


@pytest.mark.parametrize(
    ("modes", "mode"),
    [
        ({}, Mode.HAMI_CORE),
        ({"3": Mode.MIG}, Mode.MIG),
        ({GPU.uuid: Mode.MPS, "3": Mode.MIG}, Mode.MPS),
        ({"0": Mode.MIG, "GPU-other": Mode.MIG}, Mode.HAMI_CORE),
    ],
)
def test_a_gpus_own_mode_comes_before_the_nodes(modes, mode):
    """A mode by uuid wins over one by index, and both win over the mode of the node."""
    assert Config(gpu_modes=modes).mode_of(GPU) is mode


@pytest.mark.parametrize(
    ("filters", "serves"),
    [
        ({}, True),
        ({"filter_uuids": (GPU.uuid,)}, False),
        ({"filter_indexes": (3,)}, False),
        ({"filter_uuids": ("GPU-other",), "filter_indexes": (0,)}, True),
    ],
)
def test_a_filter_takes_a_gpu_out(filters, serves):
    """A GPU that either filter names is left alone, every other one is served."""
    assert Config(**filters).serves(GPU) is serves


@pytest.mark.parametrize(("name", "hint"), [("mod", "did you mean mode?"), ("zzzzzz", "")])
def test_a_mistyped_setting_gets_a_suggestion(name, hint):
    """Only a name that is close to a setting's is answered with that setting."""
    assert nearest(name) == hint
