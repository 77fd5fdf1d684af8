# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace

from hamid.core.errors import UsageError
from hamid.core.hardware.gpu import Holder, Instance
from hamid.core.hardware.profile import Placement
from hamid.core.hardware.snapshot import Snapshot, select_gpus
from hamid.testing.boards import gpu_of, node_of

INSTANCE = Instance(profile="1g.6gb", profile_id=14, memory_mib=5952, placement=Placement(start=0, size=1), gi_id=3)


def node(**changes):
    return Snapshot(gpus=(replace(gpu_of("A30-24GB", instances=(INSTANCE,)), **changes),))


@pytest.mark.parametrize(
    "changes",
    [
        {"uuid": "GPU-other"},
        {"mig_enabled": False},
        {"mig_pending": False},
        {"instances": ()},
        {"instances": (replace(INSTANCE, placement=Placement(start=1, size=1)),)},
        {"instances": (replace(INSTANCE, generation=1),)},
        {"instances": (replace(INSTANCE, used=True),)},
    ],
)
def test_what_a_plan_rests_on_changes_the_fingerprint(changes):
    """A plan made for another node state is recognised as stale."""
    assert node().fingerprint() != node(**changes).fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": (Holder(1, "init"),)},
        {"memory_mib": 1},
        {"instances": (replace(INSTANCE, mig_uuid="MIG-2", gi_id=4, holders=(Holder(1, "x"),)),)},
    ],
)
def test_what_comes_and_goes_by_itself_does_not(changes):
    """Pids, memory and read-back ids may change without making a plan stale."""
    assert node().fingerprint() == node(**changes).fingerprint()


@pytest.mark.parametrize("selector", ["1", "01", "GPU-00000001", "gpu-00000001-0000-0000-0000-000000000000"])
def test_a_gpu_is_named_by_index_or_uuid(selector):
    """Index, whole uuid and its unique beginning all lead to the same GPU."""
    assert [gpu.index for gpu in select_gpus(node_of("A30-24GB", "A30-24GB"), (selector,))] == [1]


@pytest.mark.parametrize("selector", ["2", "", "GPU-", "GPU-ffff", "-1", "all", "0x0", "9" * 5000])
def test_a_selector_that_names_none_or_several_is_refused(selector):
    """No GPU is ever guessed."""
    with pytest.raises(UsageError):
        select_gpus(node_of("A30-24GB", "A30-24GB"), (selector,))


@pytest.mark.parametrize("selector", ["00000000:07:00.0", "0000:07:00.0", "07:00.0"])
def test_a_pci_address_may_be_written_as_nvml_or_lspci_prints_it(selector):
    """The eight-digit domain of NVML, the four-digit one of lspci, and none, all name the same device."""
    found = node(pci_bus_id="00000000:07:00.0")
    assert select_gpus(found, (selector,)) == found.gpus


def test_without_a_selector_every_gpu_is_meant():
    """A command without -i is about the whole node, and selectors give each GPU once, in the node's order."""
    found = node_of("A30-24GB", "A30-24GB", "A30-24GB")
    assert select_gpus(found, ()) == found.gpus
    assert select_gpus(found, ("2", "0", found.gpus[2].uuid)) == (found.gpus[0], found.gpus[2])
