# SPDX-License-Identifier: Apache-2.0
"""A process dies by SIGKILL at every labelled point of attaching, counting and cleaning up."""

import itertools
import signal
import subprocess

import pytest
from support import hami
from support.sharing import MIB
from support.waiting import LIMIT_SECONDS

LIMIT = 12
MOST = 400


def after_a_dead_peer(place, start):
    """A peer died with all of the limit in its slot; the next process cleans up."""
    peer = start(place, "fill", 1, MIB)
    assert peer.stdout.readline() == f"{LIMIT}\n"
    peer.kill()
    peer.wait()


def after_two_dead_peers(place, start):
    """One's slot goes to the next process, the other's is found when there is no memory left."""
    first = start(place, "exec", 4 * MIB)
    assert first.stdout.readline().startswith(str(4 * MIB))
    after = start(place, "fill", 1, MIB)
    assert after.stdout.readline() == f"{LIMIT - 4}\n"
    for each in (first, after):
        each.kill()
        each.wait()


def beside_a_living_one(place, start):
    """A living peer holds some of it."""
    peer = start(place, "exec", 4 * MIB)
    assert peer.stdout.readline().startswith(str(4 * MIB))


def after_a_dead_hami_core(place, start):
    """Its process was killed with all of the limit in its slot, beside a living one of ours."""
    peer = start(place, "exec", 4 * MIB)
    assert peer.stdout.readline().startswith(str(4 * MIB))
    gone = subprocess.Popen(["true"])
    gone.wait()
    hami.Writer(place.cache).put(1, hami.slot_of(gone.pid, LIMIT * MIB))


# The labels, what was before, what the dying process does, and how much is left for the next one.
POINTS = [
    ("header", None, ("fill", 1, MIB), LIMIT),
    ("limit", None, ("fill", 1, MIB), LIMIT),
    ("locked", beside_a_living_one, ("fill", 1, MIB), LIMIT - 4),
    ("named", beside_a_living_one, ("fill", 1, MIB), LIMIT - 4),
    ("taken", beside_a_living_one, ("fill", 1, MIB), LIMIT - 4),
    ("added", beside_a_living_one, ("mix", 1, 60, MIB), LIMIT - 4),
    ("subtracted", beside_a_living_one, ("mix", 1, 60, MIB), LIMIT - 4),
    ("empty", after_a_dead_peer, ("fill", 1, MIB), LIMIT),
    ("empty", after_a_dead_hami_core, ("fill", 1, MIB), LIMIT - 4),
    ("reap", after_two_dead_peers, ("fill", 1, MIB), LIMIT),
    ("reaped", after_two_dead_peers, ("fill", 1, MIB), LIMIT),
]


@pytest.mark.parametrize(("label", "before", "words", "left"), POINTS, ids=[each[0] for each in POINTS])
def test_a_death_at_any_point_costs_nobody_anything(
    container, crashing, start, record_property, label, before, words, left
):
    """The next process comes in and finds exactly what the living have left."""
    count = 0
    for number in itertools.count(1):
        assert number < MOST
        place = container(LIMIT)
        if before is not None:
            before(place, start)
        dying = start(place, *words, LD_PRELOAD=crashing, VGPU_CRASH_AT=f"{label}:{number}")
        dying.stdin.close()
        dying.stdin = None
        if dying.wait(LIMIT_SECONDS) != -signal.SIGKILL:
            break
        count += 1
        successor = start(place, "fill", 1, MIB)
        assert successor.stdout.readline() == f"{left}\n", number
        successor.kill()
        successor.wait()
    record_property("deaths", count)
    assert count >= 1
