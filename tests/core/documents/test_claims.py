# SPDX-License-Identifier: Apache-2.0
from support.schemas import checked
from support.values import RESOURCE, claim, claimed_seat, gpu, owner, share

from hamid.core.documents.claims import claims_document

GPU = gpu(index=4)
OPERATOR = claim(9, claimed_seat(GPU, "2g.10gb", 2, made=False, uuid="MIG-a"))
CONTAINER = claim(3, share(GPU, 3000, 30), by=owner("u", "GPU-4-0", "GPU-4-1", granted_at=1.5))
UNKNOWN = claim(2, claimed_seat(GPU, "1g.5gb", 0), by=owner("", name="", confirmed=False))


WHOLE = {
    "apiVersion": "hami.io/v1",
    "kind": "ClaimList",
    "simulated": False,
    "claims": [
        {
            "name": "claim9",
            "standing": "operator",
            "pod": None,
            "resource": None,
            "deviceIds": [],
            "grantedAt": None,
            "instances": [
                {
                    "migUUID": "MIG-a",
                    "profile": "2g.10gb",
                    "gpuIndex": 4,
                    "gpuUUID": GPU.uuid,
                    "start": 2,
                    "size": 2,
                    "made": False,
                }
            ],
            "shares": [],
        },
        {
            "name": "unidentified:2",
            "standing": "provisional",
            "pod": None,
            "resource": RESOURCE,
            "deviceIds": ["GPU-1-0"],
            "grantedAt": "1970-01-01T00:00:00Z",
            "instances": [
                {
                    "migUUID": None,
                    "profile": "1g.5gb",
                    "gpuIndex": 4,
                    "gpuUUID": GPU.uuid,
                    "start": 0,
                    "size": 1,
                    "made": True,
                }
            ],
            "shares": [],
        },
        {
            "name": "ns/job/main:3",
            "standing": "confirmed",
            "pod": {"uid": "u", "namespace": "ns", "name": "job", "container": "main"},
            "resource": RESOURCE,
            "deviceIds": ["GPU-4-0", "GPU-4-1"],
            "grantedAt": "1970-01-01T00:00:01Z",
            "instances": [],
            "shares": [{"gpuIndex": 4, "gpuUUID": GPU.uuid, "memoryMiB": 3000, "coresPercent": 30}],
        },
    ],
}


def test_every_claim_is_told_as_a_whole():
    """Operators' claims come first, then containers' by age, and a pod that is not known is null."""
    found = checked(claims_document([CONTAINER, UNKNOWN, OPERATOR], {GPU.uuid: 4}, simulated=False))
    assert found == WHOLE


def test_a_gpu_that_the_driver_does_not_tell_has_no_index():
    """The claim is listed all the same, and operators' claims come by name."""
    found = claims_document([OPERATOR, claim(1, share(GPU, 5))], {}, simulated=True)
    assert [each["name"] for each in found["claims"]] == ["claim1", "claim9"]
    assert found["claims"][0]["shares"][0]["gpuIndex"] is None
    assert found["claims"][1]["instances"][0]["gpuIndex"] is None
