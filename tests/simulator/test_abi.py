# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import re
import subprocess

import pynvml
import pytest
from support import REPOSITORY

from hamid.node.paths import native_file

SOURCE = REPOSITORY / "native" / "simulator" / "nvml" / "abi.c"

STRUCTURES = {
    "nvml_pci_info": pynvml.nvmlPciInfo_t,
    "nvml_pci_info_v1": pynvml.nvmlPciInfo_v2_t,
    "nvml_memory": pynvml.c_nvmlMemory_t,
    "nvml_memory_v2": pynvml.c_nvmlMemory_v2_t,
    "nvml_process": pynvml.c_nvmlProcessInfo_v2_t,
    "nvml_attributes": pynvml.c_nvmlDeviceAttributes,
    "nvml_profile_v1": pynvml.c_nvmlGpuInstanceProfileInfo_t,
    "nvml_profile_v2": pynvml.c_nvmlGpuInstanceProfileInfo_v2_t,
    "nvml_instance_info": pynvml.c_nvmlGpuInstanceInfo_t,
    "nvml_compute_profile_v1": pynvml.c_nvmlComputeInstanceProfileInfo_t,
    "nvml_compute_profile_v2": pynvml.c_nvmlComputeInstanceProfileInfo_v2_t,
    "nvml_compute_info": pynvml.c_nvmlComputeInstanceInfo_t,
    "nvml_bar1_memory": pynvml.c_nvmlBAR1Memory_t,
    "nvml_utilization": pynvml.c_nvmlUtilization_t,
    "nvml_event_data": pynvml.c_nvmlEventData_t,
    "nvml_field_value": pynvml.c_nvmlFieldValue_t,
}


def asserted_sizes():
    """The sizes that the C build refuses to differ from."""
    pattern = re.compile(r"ASSERT_SIZE\(struct (\w+), (\d+)\)")
    return {name: int(size) for name, size in pattern.findall(SOURCE.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_have_the_sizes_of_nvidia_ml_py(name):
    """Every structure that C asserts has the size that nvidia-ml-py passes in."""
    assert ctypes.sizeof(STRUCTURES[name]) == asserted_sizes()[name]


def test_versioned_profiles_carry_the_published_versions(mig_gpu):
    """The two versioned profile structures are 0x02000098 and 0x02000088, and other versions are refused."""
    device = mig_gpu("A30")
    assert pynvml.nvmlGpuInstanceProfileInfo_v2 == 0x02000098
    assert pynvml.nvmlComputeInstanceProfileInfo_v2 == 0x02000088
    wrong = pynvml.c_nvmlGpuInstanceProfileInfo_v2_t()
    wrong.version = 0x05000098
    call = ctypes.CDLL("libnvidia-ml.so.1").nvmlDeviceGetGpuInstanceProfileInfoV
    assert call(device, 0, ctypes.byref(wrong)) == pynvml.NVML_ERROR_INVALID_ARGUMENT


def test_version_three_of_the_profile_has_capabilities(mig_gpu):
    """The v3 structure drops peer-to-peer, moves memory to 40 and the name to 48, and says graphics at 144."""
    device = mig_gpu("RTX-PRO-6000")
    call = ctypes.CDLL("libnvidia-ml.so.1").nvmlDeviceGetGpuInstanceProfileInfoV
    for value, capabilities in ((pynvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE, 0), (0xA, 2)):
        raw = (ctypes.c_ubyte * 152)()
        ctypes.c_uint.from_buffer(raw).value = 0x03000098
        assert call(device, value, raw) == pynvml.NVML_SUCCESS
        assert ctypes.c_ulonglong.from_buffer(raw, 40).value == 24192
        assert bytes(raw[48:60]).startswith(b"MIG 1g.24gb")
        assert ctypes.c_uint.from_buffer(raw, 144).value == capabilities


def test_only_nvml_and_control_symbols_are_exported():
    """The library shows the world nvml* and hami_sim_* and nothing else."""
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", native_file("simulator/libnvidia-ml.so.1")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [line.split()[-1] for line in listing.splitlines()]
    assert names
    assert [name for name in names if not name.startswith(("nvml", "hami_sim_"))] == []
