# SPDX-License-Identifier: Apache-2.0
"""Symbol lookup, by every way and with other preloaded libraries."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.sharing import LIBRARY, MIB

from hamid.node.paths import native_file

SOURCE = Path(__file__).parent / "programs/semantics.c"
DRIVER = native_file("simulator/libcuda.so.1")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Builds a variant of the source."""
    folder = tmp_path_factory.mktemp("semantics")

    def build(name, *flags):
        target = folder / name
        if not target.exists():
            subprocess.run(["cc", "-std=gnu11", "-O1", *flags, "-o", target, SOURCE, "-ldl"], check=True)
        return str(target)

    return build


@pytest.fixture
def program(built):
    return built("program", "-DPROGRAM")


@pytest.fixture
def others(built):
    """Two libraries that stand in for the same function."""
    return [built(f"{name}.so", "-shared", "-fPIC", f'-DINTERPOSER="{name}"') for name in ("A", "B")]


@pytest.mark.parametrize("way", ["local", "global"])
def test_an_absolute_path_is_no_way_around(container, program, way):
    """By handle, local or global, the hook is found; what is not hooked is the driver's, errors are dlsym's."""
    place = container(100)
    for size, code in ((100 * MIB, 0), (101 * MIB, 2)):
        found = place.run(program, way, DRIVER, str(size))
        assert found.stdout == f"{code} libcuda.so.1 ok\nend\n", found.stderr


def test_without_a_driver_there_is_no_function(container, program):
    """A program that asks whether CUDA is there gets the truth."""
    assert container(100).run(program, "none").stdout == "nothing\n"


def test_a_library_that_looks_itself_up_finds_itself(container, program, built):
    """As cuDNN does: a name behind the given handle is that library's own."""
    itself = built("self.so", "-shared", "-fPIC", "-DSELF")
    assert container(100).run(program, "self", itself).stdout == "42\n"


@pytest.mark.parametrize("order", ["before", "between", "behind"])
def test_other_interposers_keep_their_places(container, program, others, order):
    """Each passes on to the next in the order of preloading, looked up as often as it likes; the limit holds."""
    first, second = others
    orders = {
        "before": (first, second, LIBRARY),
        "between": (first, LIBRARY, second),
        "behind": (LIBRARY, first, second),
    }
    place = container(100)
    for size, code in ((100 * MIB, 0), (101 * MIB, 2)):
        found = place.run(program, "global", DRIVER, str(size), LD_PRELOAD=":".join(orders[order]))
        assert found.stdout.endswith(f"{code} libcuda.so.1 ok\nend\n"), found.stdout + found.stderr
        assert "?" not in found.stdout
        if code == 0:
            assert found.stdout.startswith("A B ")


def test_a_library_may_be_unloaded(container):
    """Loaded by hand instead of preloaded and closed again, nothing of it is called afterwards."""
    code = (
        "import ctypes, _ctypes, sys;"
        "library = ctypes.CDLL(sys.argv[1]); handle = library._handle; library.cuInit;"
        "_ctypes.dlclose(handle);"
        "driver = ctypes.CDLL('libcuda.so.1'); print(driver.cuInit(0))"
    )
    place = container(100)
    found = place.run(sys.executable, "-c", code, LIBRARY, LD_PRELOAD="")
    assert found.stdout == "0\n", found.stderr
