# SPDX-License-Identifier: Apache-2.0
"""The device nodes of a GPU, which are missing on a node that has just booted."""

import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hamid.node.driver import device_nodes
from hamid.node.paths import Paths

DRIVERS = {
    "today's": "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n509 nvidia-uvm\n\nBlock devices:\n",
    "older": "Character devices:\n  1 mem\n195 nvidia-frontend\n511 nvidia-uvm\n\nBlock devices:\n",
}


@pytest.fixture
def root(tmp_path):
    try:
        os.mknod(tmp_path / "try", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs CAP_MKNOD")
    (tmp_path / "proc").mkdir()
    return tmp_path


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_cuda_needs_of_a_gpu_is_made_with_the_numbers_that_the_driver_names(root, driver):
    """By either name of the driver; a second time finds it all there, and the grant names it."""
    (root / "proc/devices").write_text(DRIVERS[driver])
    uvm = 509 if driver == "today's" else 511
    paths = Paths(str(root))
    assert device_nodes.of_gpu(paths, 3) == ()
    for _ in range(2):
        assert device_nodes.ensure_gpu(paths, 3) == ""
    found = {}
    for node in device_nodes.of_gpu(paths, 3):
        status = os.lstat(node.host_path)
        assert stat.S_ISCHR(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o666
        found[node.container_path] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    assert found == {
        "/dev/nvidiactl": (195, 255),
        "/dev/nvidia3": (195, 3),
        "/dev/nvidia-uvm": (uvm, 0),
        "/dev/nvidia-uvm-tools": (uvm, 1),
    }


def test_workers_of_many_gpus_make_the_common_nodes_at_once(root):
    """Two workers that create a node at once both succeed, and leave no other file."""
    (root / "proc/devices").write_text(DRIVERS["today's"])
    paths, threads = Paths(str(root)), 16
    for _ in range(20):
        shutil.rmtree(root / "dev", ignore_errors=True)
        ready = threading.Barrier(threads)

        def make(gpu, ready=ready):
            ready.wait()
            return device_nodes.ensure_gpu(paths, gpu)

        with ThreadPoolExecutor(threads) as pool:
            assert set(pool.map(make, range(threads))) == {""}
        expected = {"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", *(f"nvidia{gpu}" for gpu in range(threads))}
        assert {each.name for each in (root / "dev").iterdir()} == expected


def test_what_somebody_else_made_stays_as_it_is(root):
    """An existing node with other permissions or another number is kept."""
    (root / "proc/devices").write_text(DRIVERS["today's"])
    (root / "dev").mkdir()
    os.mknod(root / "dev/nvidia0", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    before = os.lstat(root / "dev/nvidia0")
    assert device_nodes.ensure_gpu(Paths(str(root)), 0) == ""
    after = os.lstat(root / "dev/nvidia0")
    assert (after.st_ino, after.st_rdev, after.st_mode) == (before.st_ino, before.st_rdev, before.st_mode)


def test_a_driver_that_names_no_number_is_told_by_path(root):
    """Without nvidia-uvm in /proc/devices the module is not loaded; nothing is guessed."""
    (root / "proc/devices").write_text("Character devices:\n195 nvidia\n")
    problem = device_nodes.ensure_gpu(Paths(str(root)), 0)
    assert str(root / "dev/nvidia-uvm") in problem
    assert "does not name nvidia-uvm" in problem
    assert not (root / "dev/nvidia-uvm").exists()
