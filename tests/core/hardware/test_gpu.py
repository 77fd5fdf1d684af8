# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import gpu

from hamid.core.hardware.gpu import Holder

GPU = gpu(("1g.5gb", 0), ("2g.10gb", 2))


def test_a_gpu_and_a_process_are_named_for_people():
    """A GPU without a name still has an index, and a process shows its pid."""
    assert GPU.title == "GPU 0 (NVIDIA A100-SXM4-40GB)"
    assert replace(GPU, index=3, name=None).title == "GPU 3 (name unknown)"
    assert str(Holder(7, "python3", 100)) == "python3(7)"


@pytest.mark.parametrize(("now", "later"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_mode_is_changing_while_the_pending_one_differs(now, later):
    """The current mode alone says nothing about it."""
    assert replace(GPU, mig_enabled=now, mig_pending=later).mode_changing is (now != later)


def test_used_instances_are_those_that_must_not_be_touched():
    """Idle ones are not among them."""
    first, second = GPU.instances
    assert GPU.used_instances == ()
    busy = replace(second, used=True)
    assert replace(GPU, instances=(first, busy)).used_instances == (busy,)
