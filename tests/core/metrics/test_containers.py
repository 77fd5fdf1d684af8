# SPDX-License-Identifier: Apache-2.0
from msgspec.structs import replace
from support.values import gpu, owner, share

from hamid.core.library.region import ContainerUse, Use
from hamid.core.metrics.containers import ContainerHoldings, container_families, old_container_families

GPU = gpu(("2g.10gb", 2))
OTHER = gpu(index=1)
(MADE,) = GPU.instances
SHARES = ContainerHoldings(
    owner("u", index=0),
    "n",
    (share(GPU, 100, 10), share(OTHER, 50, 5)),
    (),
    ContainerUse(devices=(Use(5, 1, 2, 3, 40), Use(7)), tells_cores=True, last_kernel_at=990),
    1000.0,
)
INSTANCE = ContainerHoldings(owner("v", index=1, name="mig"), "n", (), ((GPU, MADE, 28),), None, 1000.0)
MIB = 1024 * 1024


def device(number, uuid, pod="job"):
    return {"namespace": "ns", "pod": pod, "container": "main", "vdevice_index": str(number), "device_uuid": uuid}


def place(uuid, index=0, pod="job"):
    return {"namespace": "ns", "node": "n", "pod": pod, "container_index": str(index), "device_uuid": uuid}


def series(families):
    """Every family's samples as (labels, value)."""
    return {each.name: [(dict(x.labels), x.value) for x in each.samples] for each in families}


def test_every_family_of_todays_names():
    """Shares have limits and use, instances have their identity, and both count as allocated to their GPU."""
    both = (device(0, GPU.uuid), device(1, OTHER.uuid))
    used = list(zip(both, (5, 7), strict=True))
    identity = {
        "mig_uuid": MADE.mig_uuid,
        "profile": "2g.10gb",
        "gpu_instance_id": "12",
        "compute_instance_id": "0",
    }
    assert series(container_families([SHARES, INSTANCE])) == {
        "hami_vgpu_memory_limit_bytes": list(zip(both, (100 * MIB, 50 * MIB), strict=True)),
        "hami_vgpu_memory_used_bytes": used,
        "hami_container_device_memory_bytes": used,
        "hami_vgpu_memory_context_bytes": list(zip(both, (1, 0), strict=True)),
        "hami_vgpu_memory_module_bytes": list(zip(both, (2, 0), strict=True)),
        "hami_vgpu_memory_buffer_bytes": list(zip(both, (3, 0), strict=True)),
        "hami_container_device_utilization_ratio": list(zip(both, (40, 0), strict=True)),
        "hami_container_last_kernel_elapsed_seconds": list(zip(both, (10, 10), strict=True)),
        "hami_vgpu_memory_allocated_bytes": [
            (place(GPU.uuid), 100 * MIB),
            (place(OTHER.uuid), 50 * MIB),
            (place(GPU.uuid, 1, "mig"), MADE.memory_mib * MIB),
        ],
        "hami_vgpu_core_allocated_ratio": [
            (place(GPU.uuid), 10),
            (place(OTHER.uuid), 5),
            (place(GPU.uuid, 1, "mig"), 28),
        ],
        "hami_mig_device_info": [({**device(0, GPU.uuid, "mig"), **identity}, 1)],
    }


def test_the_older_names_have_the_same_values():
    """Every label is renamed, none is lost, and each series has the zone."""
    old = series(old_container_families([SHARES, INSTANCE], "z"))
    new = series(container_families([SHARES, INSTANCE]))
    pairs = {
        "vGPU_device_memory_limit_in_bytes": "hami_vgpu_memory_limit_bytes",
        "vGPU_device_memory_usage_in_bytes": "hami_vgpu_memory_used_bytes",
        "Device_utilization_desc_of_container": "hami_container_device_utilization_ratio",
        "Device_last_kernel_of_container": "hami_container_last_kernel_elapsed_seconds",
        "MigInfo": "hami_mig_device_info",
        "vGPUMemoryAllocated": "hami_vgpu_memory_allocated_bytes",
        "vGPUCoreAllocated": "hami_vgpu_core_allocated_ratio",
    }
    assert list(old) == list(pairs)
    for older, name in pairs.items():
        assert [value for _, value in old[older]] == [value for _, value in new[name]]
    assert old["vGPU_device_memory_limit_in_bytes"][0][0] == {
        "podnamespace": "ns",
        "podname": "job",
        "ctrname": "main",
        "vdeviceid": "0",
        "deviceuuid": GPU.uuid,
        "zone": "z",
    }
    assert old["vGPUCoreAllocated"][0][0] == {
        "podnamespace": "ns",
        "nodename": "n",
        "podname": "job",
        "containeridx": "0",
        "deviceuuid": GPU.uuid,
        "zone": "z",
    }
    assert old["MigInfo"][0][0]["instanceid"] == "12"


def test_what_is_not_known_has_no_series():
    """A container without a place in its pod, without use, or without a kernel yet is left out where that counts."""
    unknown = replace(SHARES, owner=owner("u"), use=ContainerUse(devices=(Use(5),)))
    found = series(container_families([unknown, replace(SHARES, use=None)]))
    assert found["hami_vgpu_memory_used_bytes"] == [(device(0, GPU.uuid), 5)]
    assert found["hami_container_device_utilization_ratio"] == []
    assert found["hami_container_last_kernel_elapsed_seconds"] == []
    assert [labels["device_uuid"] for labels, _ in found["hami_vgpu_memory_allocated_bytes"]] == [GPU.uuid, OTHER.uuid]


def test_a_kernel_of_the_future_was_just_now():
    """Clocks of a container and its node may differ by a little."""
    ahead = replace(SHARES, use=ContainerUse(devices=(Use(),), last_kernel_at=2000))
    found = series(container_families([ahead]))
    assert found["hami_container_last_kernel_elapsed_seconds"] == [(device(0, GPU.uuid), 0.0)]


def test_an_instance_without_an_identity_has_empty_labels():
    """Half-made instances have neither a MIG UUID nor a compute instance."""
    half = replace(MADE, mig_uuid=None, ci_id=None)
    ((labels, _),) = series(container_families([replace(INSTANCE, instances=((GPU, half, 28),))]))[
        "hami_mig_device_info"
    ]
    assert (labels["mig_uuid"], labels["compute_instance_id"]) == ("", "")
