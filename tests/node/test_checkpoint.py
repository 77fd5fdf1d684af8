# SPDX-License-Identifier: Apache-2.0
"""Kubelet's device checkpoint as hamid reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.claims.grant import DeviceNode, Grant, Mount
from hamid.node.kubelet.checkpoint import NAME, Checkpoint
from hamid.serve.grpc_status import of_grants
from hamid.testing.kubelet_devices import HeldDevices
from hamid.testing.kubelet_files import checkpoint

GRANT = Grant(
    claim=0,
    envs={"NVIDIA_VISIBLE_DEVICES": "MIG-1"},
    mounts=(Mount(container_path="/a", host_path="/b", read_only=False),),
    devices=(DeviceNode(container_path="/dev/nvidiactl", host_path="/dev/nvidiactl"),),
)
HELD = HeldDevices(
    pod_uid="uid-1",
    container="main",
    resource="nvidia.com/gpu",
    ids=["GPU-1-0", "GPU-1-1"],
    answer=of_grants((GRANT,)).container_responses[0].SerializeToString(),
)


@pytest.mark.parametrize("numa", [True, False], ids=["since 1.20", "before 1.20"])
def test_both_forms_give_ids_and_answer(tmp_path, numa):
    """The grant comes back whole from every form that kubelet writes."""
    (tmp_path / NAME).write_bytes(checkpoint([HELD], {}, numa=numa))
    found = Checkpoint(str(tmp_path)).remembered()
    assert found.complete
    (entry,) = found.entries
    assert (entry.pod_uid, entry.container, entry.resource) == ("uid-1", "main", "nvidia.com/gpu")
    assert entry.device_ids == ("GPU-1-0", "GPU-1-1")
    assert entry.granted == GRANT


def test_no_file_and_a_link_are_no_account(tmp_path):
    """What is not there, or a link to elsewhere, says nothing, and says why."""
    assert "No such file" in Checkpoint(str(tmp_path)).remembered().problem
    (tmp_path / "elsewhere").write_bytes(checkpoint([], {}, numa=True))
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    assert not Checkpoint(str(tmp_path)).remembered().complete


def test_an_empty_checkpoint_is_a_complete_account(tmp_path):
    """Without holders kubelet writes null for the entries."""
    (tmp_path / NAME).write_bytes(checkpoint([], {}, numa=True))
    found = Checkpoint(str(tmp_path)).remembered()
    assert (found.complete, found.entries) == (True, ())


@given(at=st.integers(0, 400), data=st.binary(max_size=8), cut=st.booleans())
def test_a_damaged_file_is_never_taken_for_an_account(tmp_path_factory, at, data, cut):
    """Any damage gives an incomplete list with words, or well-formed entries; never an error."""
    folder = tmp_path_factory.mktemp("kubelet")
    whole = checkpoint([HELD], {}, numa=True)
    damaged = whole[:at] if cut else whole[:at] + data + whole[at + len(data) :]
    (folder / NAME).write_bytes(damaged)
    found = Checkpoint(str(folder)).remembered()
    if cut and at < len(whole):
        assert not found.complete
    assert found.complete or (found.problem and not found.entries)
