# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.claims.grant import DeviceNode, Grant, Mount
from hamid.core.claims.mig_grant import MOUNTED, VISIBLE_DEVICES, mig_grant, visible_devices
from hamid.core.config.config import ListStrategy

NODE = DeviceNode(container_path="/dev/nvidia0", host_path="/dev/nvidia0")
UUIDS = st.lists(st.from_regex(r"MIG-[0-9a-f]{8}", fullmatch=True), unique=True, max_size=4)


@given(UUIDS, st.sampled_from(ListStrategy))
def test_a_grant_names_its_instances_in_order(uuids, strategy):
    """By variable or by mounts, the instances that a grant names are those that it was made for, in their order."""
    assert visible_devices(mig_grant(7, uuids, [NODE], strategy=strategy)) == tuple(uuids)


def test_a_grant_by_variable_names_the_instances_and_their_nodes():
    """The variable holds every MIG UUID, and a device node that two instances need is given once."""
    assert mig_grant(7, ["MIG-a", "MIG-b"], [NODE, NODE]) == Grant(
        claim=7, envs={VISIBLE_DEVICES: "MIG-a,MIG-b"}, devices=(NODE,)
    )


def test_a_grant_by_mounts_mounts_a_name_for_each_instance():
    """The variable only points at the folder, whose entries the runtime reads."""
    assert mig_grant(7, ["MIG-a"], [NODE], strategy=ListStrategy.VOLUME_MOUNTS) == Grant(
        claim=7,
        envs={VISIBLE_DEVICES: MOUNTED},
        mounts=(Mount(container_path=f"{MOUNTED}/MIG-a", host_path="/dev/null"),),
        devices=(NODE,),
    )


def test_other_mounts_and_other_grants_name_no_device():
    """A mount elsewhere is no device, and a grant without the variable has none."""
    mounts = (Mount(container_path="/data", host_path="/data"),)
    assert visible_devices(Grant(claim=1, envs={VISIBLE_DEVICES: MOUNTED}, mounts=mounts)) == ()
    assert visible_devices(Grant(claim=1)) == ()
