# SPDX-License-Identifier: Apache-2.0
from msgspec.structs import replace
from support.schemas import checked
from support.values import gpu, mig_uuid, profile_of

from hamid.core.documents.inventory import (
    gpus_document,
    instances_document,
    profiles_document,
    templates_document,
)
from hamid.core.hardware.gpu import Holder
from hamid.core.hardware.profile import Engines
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.templates import ModelTemplates, Template, TemplateSlot, TemplateTable

GPU = gpu(("2g.10gb", 2), clients=(Holder(9, "init"),), note="a note")
BUSY = replace(GPU.instances[0], used=True, claim="ns/job/main:1", holders=(Holder(7, "python3", 100),))
GPU = replace(GPU, instances=(BUSY,))
PLAIN = gpu(index=1, mig=False, name=None, memory_mib=None, profiles=())
NODE = Snapshot(gpus=(GPU, PLAIN), simulated=True, driver_version="580")
INSTANCE = {
    "gpu": 0,
    "gpuUUID": GPU.uuid,
    "index": 2,
    "profile": "2g.10gb",
    "profileId": BUSY.profile_id,
    "memoryMiB": BUSY.memory_mib,
    "start": 2,
    "size": 2,
    "giId": 12,
    "ciId": 0,
    "computeInstances": 1,
    "migUUID": mig_uuid(GPU, "2g.10gb", 2),
    "used": True,
    "claim": "ns/job/main:1",
    "holders": [{"pid": 7, "name": "python3", "memoryMiB": 100}],
}


def test_instances_are_listed_gpu_by_gpu():
    """Every fact of an instance has its key, and what is not known is null."""
    assert checked(instances_document(NODE, NODE.gpus)) == {
        "apiVersion": "hami.io/v1",
        "kind": "MigInstanceList",
        "simulated": True,
        "instances": [INSTANCE],
    }
    bare = replace(BUSY, ci_id=None, mig_index=None, mig_uuid=None, compute_instances=0, claim="", holders=())
    (found,) = instances_document(NODE, (replace(GPU, instances=(bare,)),))["instances"]
    nothing: dict[str, object] = {
        "ciId": None,
        "index": None,
        "migUUID": None,
        "computeInstances": 0,
        "claim": None,
        "holders": [],
    }
    assert found == {**INSTANCE, **nothing}


def test_gpus_are_listed_with_their_instances_and_clients():
    """A GPU of which the driver tells little has nulls in place of the rest."""
    assert checked(gpus_document(NODE, NODE.gpus)) == {
        "apiVersion": "hami.io/v1",
        "kind": "GpuList",
        "simulated": True,
        "driverVersion": "580",
        "gpus": [
            {
                "index": 0,
                "uuid": GPU.uuid,
                "name": "NVIDIA A100-SXM4-40GB",
                "minor": 0,
                "pciBusId": "00000000:01:00.0",
                "memoryMiB": 40960,
                "health": "ok",
                "note": "a note",
                "mig": {"capable": True, "enabled": True, "pending": True},
                "instances": [INSTANCE],
                "clients": [{"pid": 9, "name": "init", "memoryMiB": None}],
            },
            {
                "index": 1,
                "uuid": PLAIN.uuid,
                "name": None,
                "minor": 1,
                "pciBusId": "00000000:02:00.0",
                "memoryMiB": None,
                "health": "ok",
                "note": "",
                "mig": {"capable": True, "enabled": False, "pending": False},
                "instances": [],
                "clients": [],
            },
        ],
    }


def test_profiles_are_listed_smallest_first():
    """Every number that the driver tells of a profile has its key, and each placement its start and size."""
    large = profile_of(GPU, "3g.20gb")
    small = replace(profile_of(GPU, "1g.5gb"), copy_engines=1, engines=Engines(2, 3, 4, 5))
    found = checked(profiles_document(NODE, (replace(GPU, profiles=(large, small)), PLAIN)))
    rows = found.pop("profiles")
    assert found == {"apiVersion": "hami.io/v1", "kind": "MigProfileList", "simulated": True}
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == ["1g.5gb", "3g.20gb"]
    assert rows[0] == {
        "gpu": 0,
        "gpuUUID": GPU.uuid,
        "name": "1g.5gb",
        "profileId": 19,
        "memoryMiB": small.memory_mib,
        "computeSlices": 1,
        "multiprocessors": 14,
        "copyEngines": 1,
        "decoders": 2,
        "encoders": 3,
        "jpeg": 4,
        "ofa": 5,
        "maxInstances": 7,
        "placements": [{"start": start, "size": 1} for start in range(7)],
    }
    assert rows[1]["placements"] == [{"start": 0, "size": 4}, {"start": 4, "size": 4}]


def test_templates_are_listed_with_the_gpus_that_they_are_for():
    """Each entry of the table names its models, the node's GPUs of those models, and its templates in order."""
    slots = (TemplateSlot("2g.10gb", 3, 10240), TemplateSlot("1g.5gb", 1, 5120))
    table = TemplateTable(
        entries=(
            ModelTemplates(("A100-SXM4-40GB", "A100-PCIE-40GB"), (Template(0, slots), Template(1, slots[1:]))),
            ModelTemplates(("A30",), ()),
        ),
        aliases={},
        source="/etc/hami/device-config.yaml",
    )
    assert checked(templates_document(table, NODE.gpus)) == {
        "apiVersion": "hami.io/v1",
        "kind": "MigTemplateList",
        "source": "/etc/hami/device-config.yaml",
        "models": [
            {
                "models": ["A100-SXM4-40GB", "A100-PCIE-40GB"],
                "gpus": [0],
                "templates": [
                    {"index": 0, "profiles": {"2g.10gb": 3, "1g.5gb": 1}},
                    {"index": 1, "profiles": {"1g.5gb": 1}},
                ],
            },
            {"models": ["A30"], "gpus": [], "templates": []},
        ],
    }
