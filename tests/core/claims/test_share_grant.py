# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.values import gpu, share

from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import DeviceNode, Grant, Mount
from hamid.core.claims.mig_grant import MOUNTED, VISIBLE_DEVICES, visible_devices
from hamid.core.claims.share_grant import HostPaths, folder_of, share_grant, shares_of, wants_control
from hamid.core.config.config import Config, CorePolicy, ListStrategy

GPUS = (gpu(mig=False), gpu(index=1, mig=False))
SHARES = (share(GPUS[0], 3000, 30), share(GPUS[1], 1000, 0))
HOST = HostPaths(
    library="/usr/local/vgpu/libvgpu.so.v1",
    preload="/usr/local/vgpu/ld.so.preload",
    folder="/usr/local/vgpu/containers/u_main",
    locks="/run/hami/locks",
)
NODE = DeviceNode(container_path="/dev/nvidia0", host_path="/dev/nvidia0")
PLAIN = ContainerRequest(count=2)


def grant(config=Config(), request=PLAIN, host=HOST, **fields):  # noqa: B008
    return share_grant(7, SHARES, [NODE, NODE], config=config, request=request, host=host, token="t", **fields)


def test_the_whole_grant_of_two_shares():
    """HAMi's variables and mounts, with each share's limit under its number, and each device node once."""
    assert grant() == Grant(
        claim=7,
        envs={
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_DEVICE_SM_LIMIT": "30",
            "CUDA_DEVICE_MEMORY_LIMIT_0": "3000m",
            "CUDA_DEVICE_SM_LIMIT_0": "30",
            "CUDA_DEVICE_MEMORY_LIMIT_1": "1000m",
            "CUDA_DEVICE_SM_LIMIT_1": "0",
            "LIBCUDA_LOG_LEVEL": "1",
            "CUDA_DEVICE_MEMORY_SHARED_CACHE": "/usr/local/vgpu/t.cache",
            VISIBLE_DEVICES: f"{GPUS[0].uuid},{GPUS[1].uuid}",
        },
        mounts=(
            Mount(container_path="/usr/local/vgpu/libvgpu.so", host_path=HOST.library),
            Mount(container_path="/usr/local/vgpu", host_path=HOST.folder, read_only=False),
            Mount(container_path="/tmp/vgpulock", host_path=HOST.locks, read_only=False),
            Mount(container_path="/etc/ld.so.preload", host_path=HOST.preload),
        ),
        devices=(NODE,),
    )


@pytest.mark.parametrize(
    ("config", "request_", "more"),
    [
        (Config(memory_scaling=1.5), PLAIN, {"CUDA_OVERSUBSCRIBE": "true"}),
        (Config(), replace(PLAIN, priority=0), {"CUDA_TASK_PRIORITY": "0"}),
        (Config(core_policy=CorePolicy.FORCE), PLAIN, {"GPU_CORE_UTILIZATION_POLICY": "force"}),
        (Config(core_policy=CorePolicy.DISABLE), PLAIN, {"GPU_CORE_UTILIZATION_POLICY": "disable"}),
        (
            Config(core_policy=CorePolicy.FORCE, disable_core_limit=True),
            PLAIN,
            {"GPU_CORE_UTILIZATION_POLICY": "disable"},
        ),
    ],
)
def test_settings_and_requests_add_their_variable(config, request_, more):
    """Oversubscription, priority and the policy of cores each add one variable and change no other."""
    assert grant(config, request_).envs == {**grant().envs, **more}


def test_a_container_without_control_gets_no_preload():
    """It still has the library and its directory, since its own processes may load it."""
    assert grant(controlled=False).mounts == grant().mounts[:-1]


def test_the_licensed_library_comes_with_its_license_and_validator():
    """Both are mounted where HAMi's library looks for them, and only when the license is there."""
    licensed = replace(HOST, license="/h/license", validator="/h/vgpuvalidator")
    assert grant(host=licensed).mounts == (
        *grant().mounts,
        Mount(container_path="/tmp/license", host_path="/h/license"),
        Mount(container_path="/usr/bin/vgpuvalidator", host_path="/h/vgpuvalidator"),
    )


def test_a_grant_by_mounts_names_each_gpu_by_a_mount():
    """The variable points at the folder of mounts, which follow the library's own mounts."""
    found = grant(Config(device_list_strategy=ListStrategy.VOLUME_MOUNTS))
    assert found.envs == {**grant().envs, VISIBLE_DEVICES: MOUNTED}
    listed = tuple(Mount(container_path=f"{MOUNTED}/{each.uuid}", host_path="/dev/null") for each in GPUS)
    assert found.mounts == (*grant().mounts, *listed)


@pytest.mark.parametrize("value", ["1", "t", "T", "true", "True", "TRUE"])
def test_a_container_may_switch_its_limits_off(value):
    """What Go reads as true switches the control off, everything else leaves it on."""
    assert not wants_control(value)
    assert wants_control("")
    assert wants_control(f" {value}")
    assert wants_control("yes")


@given(
    st.lists(st.tuples(st.integers(0, 99_999), st.integers(0, 100)), min_size=1, max_size=2),
    st.sampled_from(ListStrategy),
)
def test_a_grant_leads_back_to_its_shares(limits, strategy):
    """From kubelet's copy of the answer alone, the shares, their limits and the directory are found again."""
    shares = tuple(share(each, mib, cores) for each, (mib, cores) in zip(GPUS, limits, strict=False))
    config = Config(device_list_strategy=strategy)
    made = share_grant(7, shares, [NODE], config=config, request=PLAIN, host=HOST, token="t")
    assert shares_of(made, visible_devices(made), GPUS) == shares
    assert folder_of(made) == "u_main"


def test_a_limit_that_cannot_be_read_is_the_whole_gpu():
    """Without a limit of its own a GPU counts as given whole, with the cores of the common limit or none."""
    limits = {"CUDA_DEVICE_MEMORY_LIMIT_0": "lots", "CUDA_DEVICE_SM_LIMIT": "40", "CUDA_DEVICE_SM_LIMIT_1": "\u0661"}
    uuids = [GPUS[0].uuid, "GPU-gone", GPUS[1].uuid]
    assert shares_of(Grant(claim=0, envs=limits), uuids, GPUS) == (share(GPUS[0], 40960, 40), share(GPUS[1], 40960, 40))
    assert shares_of(Grant(claim=0), uuids, [replace(GPUS[0], memory_mib=None)]) == (share(GPUS[0], 0, 0),)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/local/vgpu/containers/u_main", "u_main"),
        ("/usr/local/vgpu/containers/../x", ""),
        ("/usr/local/vgpu/containers/", ""),
        ("/data", ""),
    ],
)
def test_only_a_plain_name_is_a_directory_of_ours(path, name):
    """A grant comes from kubelet's file, so a path that leads elsewhere names no directory."""
    assert folder_of(Grant(claim=0, mounts=(Mount(container_path="/usr/local/vgpu", host_path=path),))) == name
