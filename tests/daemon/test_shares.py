# SPDX-License-Identifier: Apache-2.0
"""A share of a GPU from Allocate to the client that it limits."""

import os
import subprocess
import sys
from pathlib import Path

from support.waiting import until

from hamid.node.paths import native_file

CLIENT = """
import sys
from cuda.bindings import driver as cuda

MIB = 1 << 20
assert cuda.cuInit(0)[0] == 0
context = cuda.cuDevicePrimaryCtxRetain(0)[1]
cuda.cuCtxSetCurrent(context)
total = cuda.cuMemGetInfo()[2]
code, pointer = cuda.cuMemAlloc(int(sys.argv[1]) * MIB)
over, _ = cuda.cuMemAlloc(MIB)
left = cuda.cuMemGetInfo()[1]
print(total // MIB, int(code), int(over), left // MIB)
"""


def inside(grant, path):
    """Where a path of the container lies on the node."""
    mounts = {each.container_path: each.host_path for each in grant.mounts}
    prefix = max((each for each in mounts if path == each or path.startswith(f"{each}/")), key=len)
    return mounts[prefix] + path.removeprefix(prefix)


def run(node, grant, *words):
    """cuda-bindings in the environment of a grant, with the container's files where the node has them."""
    preload = Path(inside(grant, "/etc/ld.so.preload")).read_text().split()
    environment = {
        **dict(grant.envs),
        "PATH": os.environ["PATH"],
        "HAMI_SIM_STATE": str(node.state),
        "LD_LIBRARY_PATH": str(Path(native_file("simulator/libcuda.so.1")).parent),
        "LD_PRELOAD": ":".join(inside(grant, each) for each in preload),
        "CUDA_DEVICE_MEMORY_SHARED_CACHE": inside(grant, grant.envs["CUDA_DEVICE_MEMORY_SHARED_CACHE"]),
    }
    command = [sys.executable, "-c", CLIENT, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_share_limits_a_real_client_to_its_memory(hamid):
    """Two containers on one GPU: each sees its own MiB, gets all of them and not one more."""
    node = hamid("1xA30")
    node.configure(mode="hami-core")
    node.start()
    node.kubelet.wait_for(10)
    for name, memory in (("small", 200), ("large", 3000)):
        grant = node.kubelet.grant(node.add(name, memory=memory), "main")
        found = run(node, grant, memory)
        assert found.stdout == f"{memory} 0 2 0\n", found.stderr
        assert list(Path(inside(grant, "/usr/local/vgpu")).glob("*.cache")), (
            "the region lies where HAMi's monitor looks"
        )
    used = [line for line in node.get("/metrics")[1].splitlines() if line.startswith("hami_vgpu_memory_limit_bytes{")]
    assert sorted(float(line.split()[-1]) for line in used) == [200 * 2**20, 3000 * 2**20]
    until(lambda: node.get("/metrics")[1].count("hami_vgpu_memory_used_bytes{") == 2)
    assert 'vdevice_index="0"} 0.0' in node.get("/metrics")[1], "the clients have ended"
