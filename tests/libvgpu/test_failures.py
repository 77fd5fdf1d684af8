# SPDX-License-Identifier: Apache-2.0
"""Every call that reaches the driver fails once, also those of libvgpu itself: what is counted stays the truth."""

import subprocess
from pathlib import Path

import pytest
from support import cudatools
from support.narrow import present
from support.programs import piped

from hamid.node.simulation import control


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """The program."""
    program = tmp_path_factory.mktemp("families") / "families"
    source = Path(__file__).parent / "programs/families.c"
    subprocess.run(["cc", "-std=gnu11", "-O1", "-o", program, source, "-ldl"], check=True)
    return program


def run(program, place, fault):
    """The program's three figures with that fault, and what the driver holds at its end; None when it was killed."""
    environment = cudatools.environment(place.state, **place.environment, HAMI_SIM_FAULTS=fault)
    with piped([program], environment, errors=True) as process:
        line = present(process.stdout).readline()
        held = sum(each.memory_bytes for each in control.usage(str(place.state)) if each.pid == process.pid)
        _, errors = process.communicate()
    assert process.returncode in {0, -9}, errors
    return (*map(int, line.split()), held) if process.returncode == 0 else None


def calls(program, place):
    """How many calls of the driver there are: with a fault at a later one no process dies."""
    low, high = 1, 2
    while run(program, place, f"cu*#{high}=kill") is None:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if run(program, place, f"cu*#{middle}=kill") is None else (low, middle)
    return low


def test_a_failure_of_any_call_changes_no_figure(families, container):
    """What was given is counted, what was not is not, and at the end nothing is left, in the driver or in the count."""
    place = container(100)
    count = calls(families, place)
    assert count > 60
    whole = run(families, place, f"cu*#{count + 1}=error:999")
    assert whole[0] > 20 << 20
    wrong = {}
    # The first is cuInit, after whose failure a process has no driver.
    for number in range(2, count + 1):
        expected, counted, left, held = run(families, place, f"cu*#{number}=error:999")
        if counted != expected or left or held:
            wrong[number] = (counted - expected, left, held)
    assert wrong == {}, f"{len(wrong)} of {count} calls"
