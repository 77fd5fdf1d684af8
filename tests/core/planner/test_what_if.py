# SPDX-License-Identifier: Apache-2.0
import pytest
from support.values import gpu

from hamid.core.errors import UsageError
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.what_if import assume_occupied

NODE = Snapshot(gpus=(gpu(("1g.5gb", 0)), gpu(index=1, mig=False)))


def assumed(text):
    """The instances of each GPU, as (profile, start, used)."""
    found = assume_occupied(NODE, text)
    return [[(each.profile, each.placement.start, each.used) for each in on.instances] for on in found.gpus]


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("2g.10gb@2", [("1g.5gb", 0, False), ("2g.10gb", 2, True)], []),
        ("1=2g.10gb@2", [("1g.5gb", 0, False)], [("2g.10gb", 2, True)]),
        ("1g.5gb", [("1g.5gb", 0, False), ("1g.5gb", 1, True)], []),
        ("1=1g.5gb*2", [("1g.5gb", 0, False)], [("1g.5gb", 0, True), ("1g.5gb", 1, True)]),
    ],
)
def test_instances_are_assumed_beside_the_real_ones(text, first, second):
    """GPU 0 is meant unless another one is named, and an instance without a start takes the lowest free one."""
    assert assumed(text) == [first, second]


def test_mig_is_assumed_to_be_on():
    """A GPU with assumed instances is in MIG mode, and the others stay as they are."""
    found = assume_occupied(NODE, "1=1g.5gb")
    assert (found.gpus[1].mig_enabled, found.gpus[1].mig_pending) == (True, True)
    assert found.gpus[0] == NODE.gpus[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9g.9gb@0", "has no profile '9g.9gb'"),
        ("2g.10gb@1", "cannot start at 1"),
        ("1g.5gb@0", r"1g\.5gb@0 does not fit on .* beside 1g\.5gb@0"),
        ("1=7g.40gb,1g.5gb", r"1g\.5gb@0 does not fit on .* beside 7g\.40gb@0"),
        ("1=1g.5gb*8", r"does not fit on .* beside"),
    ],
)
def test_what_a_gpu_cannot_hold_is_refused(text, message):
    """The error names the profile, the start or what is in the way."""
    with pytest.raises(UsageError, match=message):
        assume_occupied(NODE, text)


def test_a_gpu_without_mig_cannot_be_assumed_on():
    """It can hold no instance, in both modes."""
    with pytest.raises(UsageError, match="has no MIG"):
        assume_occupied(Snapshot(gpus=(gpu(mig_capable=False, mig=False),)), "1g.5gb")
