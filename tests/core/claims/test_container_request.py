# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.narrow import exactly
from support.values import container, pod

from hamid.core.claims.container_request import ContainerRequest, InvalidRequest, device_count, read_request
from hamid.core.config.config import Config, Mode
from hamid.core.units import MAX_MEMORY_MIB

CONFIG = Config(default_memory_mib=700, default_cores_percent=20)
MEMORY, PERCENTAGE, CORES, PRIORITY = (
    "nvidia.com/gpumem",
    "nvidia.com/gpumem-percentage",
    "nvidia.com/gpucores",
    "nvidia.com/priority",
)


def read(limits=None, annotations=None, config=CONFIG):
    asking = container()
    asking = replace(asking, limits={**asking.limits, **(limits or {})})
    return read_request(pod(annotations=annotations or {}), asking, config)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("1500m", 2), ("4k", 4000), ("5k", None), ("0", None), ("-1", None), ("", None), ("many", None)],
)
def test_how_many_devices_kubelet_counts(text, count):
    """The limit is a Kubernetes quantity; nothing, nonsense, and what no node has ask for no device."""
    asking = replace(container(), limits={CONFIG.resources.count: text})
    assert device_count(asking, CONFIG) == count
    if count is None:
        assert read_request(pod(), asking, CONFIG) is None


@pytest.mark.parametrize(
    ("limits", "annotations", "fields"),
    [
        ({}, {}, {"memory_mib": 700, "cores_percent": 20}),
        ({MEMORY: "500"}, {}, {"memory_mib": 500, "cores_percent": 20}),
        ({}, {MEMORY: " 500 "}, {"memory_mib": 500, "cores_percent": 20}),
        ({MEMORY: "400"}, {MEMORY: "500"}, {"memory_mib": 400, "cores_percent": 20}),
        ({MEMORY: "400", PERCENTAGE: "10"}, {}, {"memory_mib": 400, "cores_percent": 20}),
        ({MEMORY: "0", PERCENTAGE: "10"}, {}, {"memory_percent": 10, "cores_percent": 20}),
        ({PERCENTAGE: "0"}, {}, {"memory_mib": 700, "cores_percent": 20}),
        ({CORES: "0"}, {PRIORITY: "1", MEMORY: " "}, {"memory_mib": 700, "cores_percent": 0, "priority": 1}),
        ({}, {"nvidia.com/vgpu-mode": " mig "}, {"memory_mib": 700, "cores_percent": 20, "mode": Mode.MIG}),
        (
            {},
            {
                "nvidia.com/use-gputype": "A100, ,H100",
                "nvidia.com/nouse-gputype": "A30",
                "nvidia.com/use-gpuuuid": "GPU-a",
                "nvidia.com/nouse-gpuuuid": "GPU-b,",
            },
            {
                "memory_mib": 700,
                "cores_percent": 20,
                "use_types": ("A100", "H100"),
                "avoid_types": ("A30",),
                "use_uuids": ("GPU-a",),
                "avoid_uuids": ("GPU-b",),
            },
        ),
    ],
)
def test_what_a_container_asks(limits, annotations, fields):
    """Limits come before annotations, MiB before percent, and the defaults count where nothing or 0 is said."""
    assert read(limits, annotations) == ContainerRequest(count=1, **fields)


@pytest.mark.parametrize(
    ("limits", "annotations", "text"),
    [
        ({CORES: "101"}, {}, "nvidia.com/gpucores is 101, not a number from 0 to 100"),
        ({PRIORITY: "-1"}, {}, "nvidia.com/priority is -1, not a number from 0 to 1"),
        ({}, {MEMORY: "much"}, "nvidia.com/gpumem: 'much' is not a quantity such as 4096 or 4Ki"),
        ({}, {"nvidia.com/vgpu-mode": "MIG"}, "nvidia.com/vgpu-mode is 'MIG', not one of hami-core, mig, mps"),
    ],
)
def test_a_request_that_cannot_be_read_says_which_word(limits, annotations, text):
    """The text names pod, container and the word, so that an operator finds it."""
    assert read(limits, annotations) == InvalidRequest(f"pod ns/job, container main: {text}")


@given(st.integers(1, MAX_MEMORY_MIB), st.integers(1, 2048))
def test_the_memory_factor_multiplies_what_is_asked(memory, factor):
    """HAMi's memoryFactor turns chunks into MiB; what is then more than any GPU has is refused."""
    found = read({MEMORY: str(memory)}, config=replace(CONFIG, memory_factor=factor))
    if memory * factor > MAX_MEMORY_MIB:
        assert f"is {memory * factor} MiB, more than any GPU has" in exactly(InvalidRequest, found).text
    else:
        assert exactly(ContainerRequest, found).memory_mib == memory * factor
