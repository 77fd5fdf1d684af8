# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import RESOURCE, claim, claimed_seat, container, gpu, holding, mig_uuid, owner, pod, share

from hamid.core.claims.adoption import adopt
from hamid.core.claims.checkpoint import Remembered, RememberedList
from hamid.core.claims.claim import PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.mig_grant import mig_grant
from hamid.core.claims.share_grant import HostPaths, share_grant
from hamid.core.config.config import Config
from hamid.core.hardware.gpu import Health
from hamid.core.pods.pods import HoldingList, PodList

GPU = gpu(("1g.5gb", 0), ("2g.10gb", 2))
SMALL, LARGE = mig_uuid(GPU, "1g.5gb", 0), mig_uuid(GPU, "2g.10gb", 2)
POD = pod("u", container("init", init=True), container("main"))
ENDED = replace(POD, uid="old", name="ended", phase="Succeeded")
OTHER = replace(POD, uid="v", name="other")
HOST = HostPaths(library="/l", preload="/p", folder="/usr/local/vgpu/containers/u_dir", locks="/k")
SHARED = gpu(index=1, mig=False)
SHARE_ANSWER = share_grant(
    0, [share(SHARED, 3000, 30)], [], config=Config(), request=ContainerRequest(count=1), host=HOST, token="t"
)
NO_HOLDINGS = HoldingList(complete=True)


def answer(uid="u", *uuids, ids=("GPU-1-0",), name="main", granted=None, resource=RESOURCE):
    """What kubelet keeps of an answer for one container."""
    return Remembered(
        pod_uid=uid, container=name, resource=resource, device_ids=ids, granted=granted or mig_grant(0, uuids, [])
    )


def run(*entries, pods=(POD,), holdings=NO_HOLDINGS, gpus=(GPU, SHARED), claims=(), ours=True, kept=None):
    return adopt(
        kept or RememberedList(entries=entries, complete=True),
        PodList(pods=pods, complete=True),
        holdings,
        gpus,
        claims,
        resource=RESOURCE,
        ours=ours,
        boot_id="boot",
        now=5.0,
    )


@pytest.mark.parametrize("ours", [True, False])
def test_a_claim_on_instances_is_written_down_again(ours):
    """Kubelet's answer and NVML give the whole claim; its instances end with it only where hamid made them."""
    found = run(answer("u", SMALL, LARGE), ours=ours)
    assert found.doubts == ()
    (adopted,) = found.claims
    assert adopted.seats == (
        claimed_seat(GPU, "1g.5gb", 0, made=ours, uuid=SMALL),
        claimed_seat(GPU, "2g.10gb", 2, made=ours, uuid=LARGE),
    )
    assert adopted.shares == ()
    assert adopted.granted == mig_grant(0, (SMALL, LARGE), [])
    assert adopted.owner == PodOwner(
        uid="u",
        namespace="ns",
        name="job",
        container="main",
        index=0,
        resource=RESOURCE,
        device_ids=("GPU-1-0",),
        request=ContainerRequest(count=2),
        folder="u_main",
        confirmed=True,
        granted_at=5.0,
        boot_id="boot",
    )


def test_a_claim_on_shares_is_written_down_again():
    """Memory, cores and the container's directory come from the answer itself."""
    (adopted,) = run(answer("u", granted=SHARE_ANSWER)).claims
    assert (adopted.seats, adopted.shares) == ((), (share(SHARED, 3000, 30),))
    assert adopted.owner.request == ContainerRequest(count=1, memory_mib=3000, cores_percent=30)
    assert adopted.owner.folder == "u_dir"


@pytest.mark.parametrize(
    ("pods", "holdings", "who"),
    [
        ((POD,), (), ("ns", "job", 0)),
        ((), (holding("GPU-1-0"),), ("ns", "job", None)),
        ((), (holding("GPU-1-0", container="init"),), ("", "", None)),
        ((), (), ("", "", None)),
    ],
)
def test_who_has_the_claim_is_told_by_pods_or_holdings(pods, holdings, who):
    """The list of pods names the owner, else kubelet's account of the same container; else the names stay empty."""
    found = run(answer("u", SMALL), pods=pods, holdings=HoldingList(holdings=holdings, complete=True))
    assert [(each.owner.namespace, each.owner.name, each.owner.index) for each in found.claims] == [who]


@pytest.mark.parametrize(
    "entry",
    [
        answer("u", SMALL, resource="other/gpu"),
        answer("u", "MIG-gone"),
        answer("u", SMALL, ids=("GPU-7-0", "GPU-7-1")),
    ],
)
def test_what_is_no_claim_of_ours_or_is_known_is_not_adopted(entry):
    """Another resource, an instance that is gone, and ids that the ledger has already give no claim and no doubt."""
    known = claim(1, by=owner("u", "GPU-7-1", "GPU-7-0"))
    found = run(entry, claims=(known,))
    assert (found.claims, found.doubts) == ((), ())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_init_containers_answer_gives_way_to_the_app_containers(order):
    """Both have the same ids in one pod, and the claim belongs to the one that comes later."""
    entries = answer("u", SMALL, name="init"), answer("u", SMALL, name="main")
    found = run(*(entries[number] for number in order))
    assert [each.owner.container for each in found.claims] == ["main"]


def test_an_instance_belongs_to_the_live_pod():
    """A pod that ended lost its instance to its successor, which comes last in the order of grants."""
    found = run(answer("u", SMALL), answer("old", LARGE, SMALL, ids=("GPU-1-1",)), pods=(POD, ENDED))
    assert [each.owner.uid for each in found.claims] == ["u"]
    assert found.doubts == ()


def test_claims_of_ended_pods_come_first():
    """The order of the claims is that in which they were granted, as far as it can be told."""
    found = run(answer("u", SMALL), answer("old", LARGE, ids=("GPU-1-1",)), pods=(POD, ENDED))
    assert [each.owner.uid for each in found.claims] == ["old", "u"]


def test_two_live_containers_on_one_instance_are_a_doubt():
    """Neither is adopted, and each is named."""
    found = run(answer("u", SMALL), answer("v", SMALL, ids=("GPU-1-1",)), pods=(POD, OTHER))
    assert found.claims == ()
    assert found.doubts == tuple(
        f"ns/{name}/main and another container were granted the same instance {SMALL}" for name in ("job", "other")
    )


@pytest.mark.parametrize(("pods", "doubts"), [((POD,), 1), ((), 0)])
def test_an_instance_that_the_ledger_promised_is_not_given_again(pods, doubts):
    """A live container on a promised instance is a doubt, one whose pod is gone is not."""
    held = claim(1, claimed_seat(GPU, "1g.5gb", 0))
    found = run(answer("u", SMALL), pods=pods, claims=(held,))
    assert (found.claims, len(found.doubts)) == ((), doubts)


UNREAD = RememberedList(complete=False, problem="no checkpoint")


@pytest.mark.parametrize(
    ("kept", "holdings", "doubts"),
    [
        (UNREAD, NO_HOLDINGS, ()),
        (UNREAD, HoldingList(holdings=(holding("x", resource="other/gpu"),), complete=True), ()),
        (
            UNREAD,
            HoldingList(complete=False, problem="no kubelet"),
            ("kubelet's records cannot be read: no checkpoint; no kubelet",),
        ),
        (
            UNREAD,
            HoldingList(holdings=(holding("x"),), complete=True),
            (
                "containers hold devices, but their records cannot be read: no checkpoint",
                "container ns/job/main holds 'x' for an unknown reason",
            ),
        ),
        (
            RememberedList(entries=(answer("u", "MIG-gone"),), complete=True),
            HoldingList(holdings=(holding("GPU-1-0"), holding("GPU-7-0")), complete=True),
            (),
        ),
    ],
)
def test_what_kubelet_does_not_explain_is_a_doubt(kept, holdings, doubts):
    """Each id that a container holds is explained by an answer or by a known claim, or it is a doubt."""
    known = claim(1, by=owner("u", "GPU-7-0"))
    assert run(kept=kept, holdings=holdings, claims=(known,)).doubts == doubts


def test_a_gpu_that_cannot_be_read_is_a_doubt():
    """Its instances are not known, so nothing there is explained."""
    lost = gpu(health=Health.LOST, note="fell off the bus")
    assert run(gpus=(lost,)).doubts == ("GPU 0 cannot be read: fell off the bus",)
