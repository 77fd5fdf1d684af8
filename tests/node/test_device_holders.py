# SPDX-License-Identifier: Apache-2.0
"""Who holds a device node open is found among all processes, with few looks for many questions."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.narrow import present

from hamid.node.driver.device_holders import DeviceHolders

HOLD = "import os, sys; os.open(sys.argv[1], os.O_RDONLY); print('open', flush=True); sys.stdin.read()"


@pytest.fixture
def device(tmp_path):
    """A device node that has an NVIDIA name, and its number."""
    path = tmp_path / "nvidia-cap7"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        pytest.skip("device nodes cannot be made and opened here")
    return path, os.makedev(1, 3)


def test_a_process_that_has_a_node_open_is_named(device):
    """By its pid and the node's path while it has it open; other numbers and no numbers have no holder."""
    path, number = device
    looked = DeviceHolders()
    assert looked.of({number}, strict=False) == ""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        present(holder.stdout).readline()
        assert looked.of({number}, strict=False) == f"process {holder.pid} has '{path}' open"
        assert looked.of({number + 1}, strict=False) == ""
        assert looked.of((), strict=True) == ""
        present(holder.stdin).close()
    assert looked.of({number}, strict=False) == ""


def test_one_that_may_not_be_looked_into_counts_when_strict(tmp_path):
    """Its open files cannot be read."""
    folder = tmp_path / "4711" / "fd"
    folder.mkdir(parents=True)
    folder.chmod(0)
    tmp_path.chmod(0o755)
    place = os.open(tmp_path, os.O_PATH)
    child = os.fork()
    if child == 0:
        # This very process without the rights of root: another user may not be able to run this Python.
        os.fchdir(place)
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        looked = DeviceHolders(".")
        said = [looked.of({1}, strict=strict) for strict in (False, True)]
        os._exit(0 if said == ["", "process 4711 cannot be inspected"] else 1)
    os.close(place)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_sixty_questions_at_once_are_a_few_looks():
    """What is asked while another look is on its way shares the next one."""
    looks = []

    class Counted(DeviceHolders):
        def _look(self):
            looks.append(1)
            return super()._look()

    looked = Counted()
    with ThreadPoolExecutor(60) as pool:
        assert set(pool.map(lambda _: looked.of({1}, strict=False), range(60))) == {""}
    assert 1 <= len(looks) < 30
