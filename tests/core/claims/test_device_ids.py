# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.claims.device_ids import PluginDevice, advertise, device_id, gpu_of

UUIDS = st.sampled_from(["GPU-a", "GPU-b", "GPU-c"])


@given(st.text(min_size=1), st.integers(0, 999_999))
def test_a_device_id_names_its_gpu(uuid, number):
    """The id of each part of a GPU leads back to the GPU, for every UUID."""
    assert gpu_of(device_id(uuid, number)) == uuid


@pytest.mark.parametrize("text", ["", "GPU", "GPU-", "GPU-a", "GPU-01", "GPU-1000000", "GPU-\u0661", "GPU--1x", "3"])
def test_what_is_no_id_of_ours_names_no_gpu(text):
    """Kubelet's files may hold anything: a number with zeros in front, other digits or no number is no id."""
    assert gpu_of(text) == ""


@given(
    st.lists(UUIDS, unique=True),
    st.integers(1, 3),
    st.sets(UUIDS),
    st.sets(UUIDS),
    st.sets(st.builds(device_id, UUIDS, st.integers(0, 5))),
    st.sets(UUIDS),
)
def test_every_part_of_a_served_gpu_and_every_held_id_is_listed_once(served, parts, unhealthy, closed, held, known):
    """A held id stays listed and usable on a closed GPU; free ids there, and all ids of an unhealthy GPU, do not."""
    numa = {"GPU-a": 0, "GPU-b": 1}
    found = advertise(
        served, split_count=parts, unhealthy=unhealthy, closed=closed, held=held, known=known, numa_nodes=numa
    )
    ids = [each.device_id for each in found]
    expected = {device_id(uuid, number) for uuid in served for number in range(parts)}
    assert len(ids) == len(set(ids))
    assert set(ids) == expected | {each for each in held if gpu_of(each) in known}
    for each in found:
        uuid = gpu_of(each.device_id)
        usable = uuid not in unhealthy and (uuid not in closed or each.device_id in held)
        assert each == PluginDevice(device_id=each.device_id, gpu_uuid=uuid, healthy=usable, numa_node=numa.get(uuid))


def test_without_topology_no_device_has_a_numa_node():
    """Kubelet aligns nothing that it is not told about."""
    assert [each.numa_node for each in advertise(["GPU-a"], split_count=2, unhealthy=())] == [None, None]
