# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pynvml
from support import migtools

from hamid.node.simulation import control


def tree(root):
    """The capability files below a root, as paths relative to the capability directory."""
    base = root / "proc/driver/nvidia/capabilities"
    return sorted(str(path.relative_to(base)) for path in base.rglob("access"))


def test_capability_files_follow_the_instances(mig_gpu, tmp_path):
    """Creating and destroying instances makes and removes their capability files, with the right minors."""
    device = mig_gpu("A100-SXM4-40GB", index=1, count=2)
    root = tmp_path / "root"
    control.set_root(root)
    assert tree(root) == []
    instance, compute = migtools.whole(device, 14, 1, 2, 2)
    assert tree(root) == ["gpu1/mig/gi4/access", "gpu1/mig/gi4/ci0/access"]
    text = (root / "proc/driver/nvidia/capabilities/gpu1/mig/gi4/ci0/access").read_text()
    assert text.splitlines() == ["DeviceFileMinor: 175", "DeviceFileMode: 292", "DeviceFileModify: 1"]
    minors = dict(
        line.rsplit(" ", 1) for line in (root / "proc/driver/nvidia-caps/mig-minors").read_text().splitlines()
    )
    assert (minors["config"], minors["monitor"], minors["gpu1/gi4/ci0/access"]) == ("1", "2", "175")
    assert minors["gpu31/gi14/ci7/access"] == "4322"
    assert "nvidia-caps" in (root / "proc/devices").read_text()
    assert not (root / "dev").exists()
    pynvml.nvmlComputeInstanceDestroy(compute)
    assert tree(root) == ["gpu1/mig/gi4/access"]
    pynvml.nvmlGpuInstanceDestroy(instance)
    assert tree(root) == []


def test_device_nodes_appear_only_when_asked(mig_gpu, tmp_path):
    """With the knob the device files of the capabilities come and go with the instances; a reboot takes them all."""
    device = mig_gpu("A100-SXM4-40GB")
    root = tmp_path / "root"
    control.set_root(root)
    migtools.whole(device, 14, 1, 0, 2)
    control.set_knob("device_nodes", "1")
    assert sorted(path.name for path in (root / "dev/nvidia-caps").iterdir()) == ["nvidia-cap30", "nvidia-cap31"]
    control.reboot()
    assert list((root / "dev/nvidia-caps").iterdir()) == []
    assert tree(root) == []
