# SPDX-License-Identifier: Apache-2.0
"""Whose device is whose, where kubelet says little: old kubelets, init containers, equal pods, lists that lie."""

import json

import pytest
from support.running import RESOURCE
from support.waiting import LIMIT_SECONDS, until

from hamid.testing.kubelet import ContainerSpec, Kubelet
from hamid.testing.kubelet_http import PodServer

ASKS = {RESOURCE: "1"}


def owners(node):
    """Who owns which MIG UUIDs, by the claims and NVML."""
    seats = {
        (gpu.uuid, each.profile, each.placement.start): each.mig_uuid for gpu in node.gpus() for each in gpu.instances
    }
    return {
        claim.owner.name: [seats[e.seat.gpu_uuid, e.profile, e.seat.start] for e in claim.seats]
        for claim in node.facts().claims
    }


def test_a_kubelet_of_1_20_gets_the_same_service(hamid):
    """It never asks for options and knows pod-resources v1alpha1: grant, confirmation, restarts and release work."""
    node = hamid(kubelet=False)
    node.kubelet = Kubelet(node.kubelet.root, old=True)
    node.kubelet.start()
    node.start()
    node.kubelet.wait_for(20)
    uids = [node.add(name, memory=8000, count=2) for name in ("one", "two")]
    before = {uid: node.uuids(uid) for uid in uids}
    until(lambda: len(node.facts().claims) == 2 and all(each.owner.confirmed for each in node.facts().claims))
    node.kubelet.restart()
    node.kubelet.wait_for(18)
    node.stop()
    node.start()
    node.kubelet.wait_for(18)
    for uid in uids:
        assert node.kubelet.restart_container(uid, "main")["NVIDIA_VISIBLE_DEVICES"] == ",".join(before[uid])
    node.kubelet.finish_pod(uids[0])
    until(lambda: set(node.instances()) == set(before[uids[1]]))


def test_init_and_app_container_of_one_pod_share_ids_instance_and_claim(hamid):
    """The app container starts on what its init container had, through restarts of hamid, until the pod is over."""
    node = hamid("1xA100-SXM4-40GB").start()
    node.kubelet.wait_for(10)
    containers = [ContainerSpec(name="setup", init=True, limits=ASKS), ContainerSpec(limits=ASKS)]
    uid = node.add("job", containers=containers)
    assert node.kubelet.device_ids(uid, "setup") == node.kubelet.device_ids(uid, "main")
    assert node.kubelet.grant(uid, "setup").envs == node.kubelet.grant(uid, "main").envs
    before = node.uuids(uid)
    node.stop()
    node.start()
    node.kubelet.wait_for(9)
    until(lambda: all(claim.owner.confirmed for claim in node.facts().claims))
    assert list(node.instances()) == before
    assert [claim.owner.container for claim in node.facts().claims] == ["main"]
    assert node.kubelet.restart_container(uid, "main")["NVIDIA_VISIBLE_DEVICES"] == ",".join(before)
    node.kubelet.finish_pod(uid)
    until(lambda: node.instances() == {})


def test_a_wrong_guess_is_put_right_before_anything_goes(hamid):
    """The pod that was guessed ends; the instance of the one that runs stays until that one ends."""
    node = hamid("1xA100-SXM4-40GB")
    told = node.root / "pods.json"

    def tell(status):
        """The pods, after one that was never admitted: the caller may be that one."""
        limits = {"containers": [{"name": "main", "resources": {"limits": ASKS}}]}
        ghost = {"metadata": {"uid": "ghost", "name": "ghost", "annotations": {"nvidia.com/gpumem": "4000"}}}
        pods = json.loads(node.kubelet.pods_file.read_text())
        pods["items"] = [{**ghost, "spec": limits, "status": {"phase": status}}, *pods["items"]]
        told.write_text(json.dumps(pods))

    node.configure(pods_file=str(told))
    tell("Pending")
    node.start()
    node.kubelet.wait_for(10)
    uid = node.add("real")
    assert list(owners(node)) == ["ghost"]
    tell("Pending")
    until(lambda: owners(node) == {"real": node.uuids(uid)})
    tell("Failed")
    node.reconciled()
    assert list(node.instances()) == node.uuids(uid)
    node.kubelet.finish_pod(uid)
    tell("Failed")
    until(lambda: node.instances() == {})


LISTS = {
    "empty": b'{"kind": "PodList", "items": []}',
    "cut off": b'{"kind": "PodList", "items": [',
    "one of two": b'{"items": [{"metadata": {"uid": "x", "name": "x"}, "spec": {"containers": []}}, {"metadata": {}}]}',
    "no file": None,
}


def lie(node, tmp_path, kind):
    """A node with one pod whose list of pods turns bad; the instances of before."""
    pods = tmp_path / f"{node.state.parent.name}.json"
    pods.symlink_to(node.kubelet.pods_file)
    node.configure(pods_file=str(pods))
    node.start()
    node.kubelet.wait_for(10)
    node.add(kind)
    pods.unlink()
    if LISTS[kind] is not None:
        pods.write_bytes(LISTS[kind])
    return node.instances().keys()


@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.full)], ids=["at once", "absent"])
def test_lists_that_lie_destroy_nothing(hamid, tmp_path, long):
    """Empty, cut off, bad or no list at all, also longer than a pod may be absent: kubelet says who holds the ids.

    Where kubelet says nothing of them either, the empty list is believed after a while.
    """
    nodes = {kind: hamid("1xA30") for kind in LISTS}
    before = {kind: lie(node, tmp_path, kind) for kind, node in nodes.items()}
    if long:
        # Its pod was absent last of all: when it is believed to be over, the others were absent for longer.
        gone = hamid("1xA30")
        lie(gone, tmp_path, "empty")
        gone.kubelet.delete_pod(gone.facts().claims[0].owner.uid)
        until(lambda: gone.instances() == {}, 2 * LIMIT_SECONDS)
    for kind, node in nodes.items():
        node.reconciled()
        assert node.instances().keys() == before[kind], kind
        assert [claim.owner.name for claim in node.facts().claims] == [kind]


pytestmark = pytest.mark.timeout(200)


def test_kubelets_own_list_is_read_and_its_silence_releases_nothing(hamid, tmp_path):
    """Over http with a token: a grant by the pod's annotations; a server that is gone or refuses us ends no claim."""
    node = hamid("1xA30")
    token = tmp_path / "token"
    token.write_text("right\n")
    server = PodServer(node.kubelet.pod_list, token="right")
    port = int(server.url.rpartition(":")[2])
    node.configure(pods_source="kubelet", kubelet_url=f"{server.url}/pods", kubelet_token_file=str(token))
    node.start()
    node.kubelet.wait_for(10)
    uid = node.add("job", memory=12000)
    assert [each.profile for each in node.instances().values()] == ["2g.12gb"]
    token.write_text("wrong\n")
    until(lambda: "401: the credentials are not accepted" in node.get("/readyz?verbose")[1])
    assert node.get("/readyz") == (200, "ok\n"), "kubelet can still ask for what it has"
    node.kubelet.finish_pod(uid)
    node.reconciled()
    assert len(node.instances()) == 1
    token.write_text("right\n")
    until(lambda: node.instances() == {})
    uid = node.add("next", memory=12000)
    server.close()
    node.kubelet.finish_pod(uid)
    node.reconciled()
    assert len(node.instances()) == 1
    server = PodServer(node.kubelet.pod_list, port, token="right")
    until(lambda: node.instances() == {})
    server.close()
