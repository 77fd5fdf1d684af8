# SPDX-License-Identifier: Apache-2.0
"""Other people's tools run unchanged on a simulated node."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pynvml
import pytest
from support import migtools
from support.waiting import until

from hamid.node.paths import native_file

LIBRARIES = str(Path(native_file("simulator/libnvidia-ml.so.1")).parent)
BINARIES = Path(sys.executable).parent


@pytest.fixture
def layout(node):
    """A node with MIG devices of three sizes on its first GPU; what they should look like to others."""
    state = node("1xA100-SXM4-40GB,1xA30")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    pynvml.nvmlDeviceSetMigMode(device, 1)
    for profile_id, compute_profile in ((9, 2), (14, 1), (19, 0)):
        migtools.whole(device, profile_id, compute_profile)
    return {
        "environment": {
            "HAMI_SIM_STATE": str(state),
            "LD_LIBRARY_PATH": LIBRARIES,
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
        },
        "memory_mib": [19968, 9856, 4864],
        "uuids": [pynvml.nvmlDeviceGetUUID(mig) for mig in migtools.mig_devices(device).values()],
    }


def program(name):
    """A client beside this Python, or a skip that says what is missing."""
    path = BINARIES / name
    if not path.exists():
        pytest.skip(f"{name} is not installed here: it is a development dependency")
    return str(path)


def run(command, environment):
    """What a client prints; it must succeed."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nvitop_shows_the_mig_devices(layout):
    """The one-shot view of nvitop has a line with ids and size for every MIG device."""
    text = run([program("nvitop"), "-1", "--ascii"], layout["environment"])
    for index, (name, ids) in enumerate((("3g.20gb", "2/0"), ("2g.10gb", "3/0"), ("1g.5gb", "9/0"))):
        (line,) = [line for line in text.splitlines() if f"{name} @ GI/CI: {ids}" in line]
        assert f"{layout['memory_mib'][index]}MiB" in line


def test_nvitops_library_agrees(layout):
    """The Device API of nvitop gives the MIG devices with their UUIDs and sizes."""
    program("nvitop")
    code = (
        "import json, nvitop; print(json.dumps([[m.uuid(), m.memory_total()] for m in nvitop.Device(0).mig_devices()]))"
    )
    found = json.loads(run([sys.executable, "-c", code], layout["environment"]))
    assert [uuid for uuid, _ in found] == layout["uuids"]
    assert [size for _, size in found] == [mib * 2**20 for mib in layout["memory_mib"]]


def test_gpustat_runs(layout):
    """The GPUs are listed by gpustat; it knows nothing of MIG devices."""
    found = json.loads(run([program("gpustat"), "--json"], layout["environment"]))
    assert [gpu["name"] for gpu in found["gpus"]] == ["NVIDIA A100-SXM4-40GB", "NVIDIA A30"]
    assert [gpu["memory.total"] for gpu in found["gpus"]] == [40960, 24576]


def scrape(port, process):
    """The exporter's page of now; empty before it is up."""
    assert process.poll() is None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
            return page.read().decode()
    except urllib.error.URLError:
        return ""


def test_nvitop_exporter_labels_the_mig_devices(layout):
    """The metrics of nvitop-exporter carry every MIG device's UUID."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program("nvitop-exporter"), "--bind-address", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        command, env=layout["environment"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            # It is up before it has read every device.
            until(lambda: all(uuid in scrape(port, process) for uuid in layout["uuids"]))
        finally:
            process.terminate()
