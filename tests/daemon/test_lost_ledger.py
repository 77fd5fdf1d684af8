# SPDX-License-Identifier: Apache-2.0
"""hamid as a process whose ledger or whose node goes away under running pods."""

import signal
from contextlib import closing

import grpc
import pytest
from support.waiting import until

from hamid.node.simulation import lifecycle
from hamid.testing.kubelet_sockets import Plugin


def kinds(node):
    """Every instance by what it is, without its name."""
    return sorted((each.profile, each.placement) for each in node.instances().values())


def test_a_lost_ledger_is_found_again_in_kubelets_own_files(hamid):
    """Killed, and its ledger deleted: the same pods hold the same instances, and those of an ended pod go."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    uids = [node.add(name) for name in ("one", "two")]
    before = {uid: node.uuids(uid) for uid in uids}
    node.stop(signal.SIGKILL)
    for file in (node.root / "var/lib/hami").glob("ledger.db*"):
        if file.suffix in {".db", ".db-wal", ".db-shm"}:
            file.unlink()
    node.start()
    node.kubelet.wait_for(18)
    assert {claim.owner.uid for claim in node.facts().claims} == set(uids)
    assert node.facts().certain
    for uid in uids:
        assert node.kubelet.restart_container(uid, "main")["NVIDIA_VISIBLE_DEVICES"] == ",".join(before[uid])
    node.kubelet.finish_pod(uids[0])
    until(lambda: list(node.instances()) == before[uids[1]])
    assert node.uuids(node.add("three")) != before[uids[1]]


def refusal(plugin, device):
    """The refusal of an Allocate at this moment; fails when it is granted."""
    with pytest.raises(grpc.RpcError) as error:
        plugin.allocate([device])
    return error.value.details()


def test_a_lost_ledger_without_kubelets_account_grants_nothing(hamid):
    """Kubelet is down and its checkpoint gone: nothing is destroyed, and each Allocate is refused with the reason."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    uid = node.add("one")
    before = node.instances()
    free = sorted(node.kubelet.healthy - {each for claim in node.facts().claims for each in claim.owner.device_ids})
    node.stop(signal.SIGKILL)
    # A kubelet that runs would write its account again with hamid's first list of devices.
    node.kubelet.stop()
    for file in (node.root / "var/lib/hami").glob("ledger.db*"):
        if file.suffix in {".db", ".db-wal", ".db-shm"}:
            file.unlink()
    checkpoint = node.kubelet.folder / "kubelet_internal_checkpoint"
    kept = checkpoint.read_bytes()
    checkpoint.unlink()
    socket = node.kubelet.folder / "hami-gpu.sock"
    socket.unlink(missing_ok=True)
    node.start()
    until(socket.exists)
    with closing(Plugin(socket, None, old=False)) as plugin:
        until(lambda: "ledger was lost" in refusal(plugin, free[0]))
    assert node.instances().keys() == before.keys()
    checkpoint.write_bytes(kept)
    node.kubelet.start()
    until(lambda: node.facts().certain)
    assert [claim.owner.uid for claim in node.facts().claims] == [uid]


@pytest.mark.parametrize("spec", ["1xA100-SXM4-40GB", "1xH100-80GB-SXM5"])
def test_after_a_reboot_containers_start_on_what_they_were_told(hamid, spec):
    """Instances, and on Hopper the MIG mode, are gone; hamid has them back before kubelet starts anything."""
    node = hamid(spec).start()
    node.kubelet.wait_for(10)
    uids = [node.add("one"), node.add("two", memory=9000)]
    before, layout = {uid: node.uuids(uid) for uid in uids}, kinds(node)
    node.stop(signal.SIGKILL)
    lifecycle.reboot(node.state)
    assert node.instances() == {}
    node.start()
    until(lambda: kinds(node) == layout)
    until(lambda: node.events("ready"))
    node.kubelet.wait_for(8)
    for uid in uids:
        assert node.kubelet.restart_container(uid, "main")["NVIDIA_VISIBLE_DEVICES"] == ",".join(before[uid])
