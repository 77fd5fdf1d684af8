# SPDX-License-Identifier: Apache-2.0
"""Messages that no kubelet sends, over the socket of a hamid that serves a simulated node."""

from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.waiting import LIMIT_SECONDS, until

from hamid.node.kubelet.api import deviceplugin_pb2 as messages

# What a node may refuse and a caller get wrong: never an unexpected exception, never a dead hamid.
EXPECTED = {
    "OK",
    "INVALID_ARGUMENT",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "DEADLINE_EXCEEDED",
    "DATA_LOSS",
}
METHODS = ("GetDevicePluginOptions", "GetPreferredAllocation", "Allocate", "PreStartContainer")
KIB_MORE = 60 * 1024


@pytest.fixture
def served(hamid):
    """A hamid on one GPU, and a way to send it any bytes: the status' name and text of an answer, or its bytes."""
    node = hamid("1xA30")
    node.configure(pods_source="none", allocate_deadline_seconds=1, split_count=4)
    node.start()
    node.kubelet.wait_for(4)
    with grpc.insecure_channel(f"unix:{node.kubelet.folder}/hami-gpu.sock") as channel:

        def send(method, data):
            try:
                return "OK", channel.unary_unary(f"/v1beta1.DevicePlugin/{method}")(data, timeout=LIMIT_SECONDS)
            except grpc.RpcError as error:
                return error.code().name, error.details()

        node.send = send
        yield node


def peak_kib(process):
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


def device_ids(node):
    ours = st.sampled_from([*sorted(node.kubelet.healthy), ""])
    return st.lists(ours | st.text(max_size=40) | st.just("x" * 5000), max_size=6)


def requests(ids):
    """Well-formed messages of every method with contents of every kind, and bytes that are none."""
    allocate = st.builds(
        lambda each: messages.AllocateRequest(
            container_requests=[messages.ContainerAllocateRequest(devices_ids=x) for x in each]
        ),
        st.lists(ids, max_size=3),
    )
    preferred = st.builds(
        lambda each: messages.PreferredAllocationRequest(
            container_requests=[
                messages.ContainerPreferredAllocationRequest(
                    available_deviceIDs=x, must_include_deviceIDs=y, allocation_size=z
                )
                for x, y, z in each
            ]
        ),
        st.lists(st.tuples(ids, ids, st.integers(-(2**31), 2**31 - 1) | st.integers(0, 6)), max_size=3),
    )
    start = st.builds(lambda each: messages.PreStartContainerRequest(devices_ids=each), ids)
    made = (allocate | preferred | start).map(lambda each: each.SerializeToString())
    broken = st.builds(
        lambda data, at, byte: data[:at] + bytes([byte]) + data[at + 1 :], made, st.integers(0, 60), st.integers(0, 255)
    )
    return made | broken | st.binary(max_size=60)


def test_no_message_is_more_than_an_error(served):
    """Every answer is a grant or says what is wrong; hamid lives on, promises only what it made, and stays small."""
    before = peak_kib(served.process)

    @settings(max_examples=250)  # four methods, and a message costs little
    @given(st.sampled_from(METHODS), requests(device_ids(served)))
    def send(method, data):
        status, answer = served.send(method, data)
        assert status in EXPECTED, (status, answer)
        assert status == "OK" or answer.strip()

    send()
    assert served.process.poll() is None
    assert not served.events("call_failed")
    assert peak_kib(served.process) < before + KIB_MORE
    until(lambda: promised(served) == set(served.instances()))


def promised(node):
    return {each.mig_uuid for claim in node.facts().claims for each in claim.seats}


@pytest.mark.parametrize(
    ("method", "data", "status"),
    [
        ("Allocate", b"\x0a\x00" * 400_000, "INVALID_ARGUMENT"),
        ("Allocate", b"\x0a" + b"\x80\x80\x30" + b"\x0a\x00" * 393_216, "INVALID_ARGUMENT"),
        ("GetPreferredAllocation", b"\x0a\x00" * 400_000, "INVALID_ARGUMENT"),
        ("PreStartContainer", b"\x0a\x00" * 400_000, "INVALID_ARGUMENT"),
        ("Allocate", b"\x0a" * 3_000_000, "RESOURCE_EXHAUSTED"),
        ("Allocate", b"\xff" * 20, "INVALID_ARGUMENT"),
        ("ListAndWatches", b"", "UNIMPLEMENTED"),
    ],
)
def test_a_message_of_any_size_costs_little(served, method, data, status):
    """As many parts as fit into a message are refused before they are looked at."""
    before = peak_kib(served.process)
    assert served.send(method, data)[0] == status
    assert peak_kib(served.process) < before + KIB_MORE
    assert served.add("job", memory=1000)
