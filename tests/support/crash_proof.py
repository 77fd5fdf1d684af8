# SPDX-License-Identifier: Apache-2.0
"""Kills a case of the crash matrix at every point: `crash_proof.py FOLDER CASE changes|calls [FUNCTION NUMBER WHEN]`.

A program of its own, since a small process forks in a fraction of the time that the whole of pytest takes. With a point
the change dies there first, and what is killed everywhere is the recovery. Prints the number of kills and of the states
that they left. With `changes` it dies around every call that changes the driver's state and every write, with `calls`
also at every driver call that only reads, where nothing that lasts is different.
"""

import gc
import sys
from pathlib import Path

from hamid.engine.steps.recover import recover
from hamid.node.simulation import control
from support.crash_cases import CASES
from support.scene import Scene, at_call, in_child, kills, under


class Judge:
    """What must hold after a kill, once the next process has recovered."""

    def __init__(self, case, scene):
        self.case, self.scene = case, scene
        look = scene.look()
        self.before, self.used = look.picture, look.used
        case.plan(scene)()
        self.after = scene.picture()
        assert self.after != self.before
        self.tried = []

    def __call__(self):
        scene = self.scene
        recover(scene.paths)
        look = scene.look()
        assert look.used == self.used
        scene.assert_agreed(look)
        if self.case.whole:
            assert look.picture in (self.before, self.after)
        if look.picture not in self.tried:
            # From equal states the change goes the same way.
            self.tried.append(look.picture)
            assert recover(scene.paths) == []
            self.case.plan(scene)()
            assert scene.picture() == self.after


def killed_change(scene, case, *, reads):
    """The change dies at every point."""
    judge = Judge(case, scene)
    scene.put_back()
    work = under(case.faults, case.plan(scene))
    if case.faults:
        assert not in_child(work, lambda: None)
        assert scene.picture() == judge.before
        scene.put_back()
    return kills(scene, work, judge, reads=reads)


def killed_recovery(scene, case, function, number, when, *, reads):
    """The change dies at one point, and its recovery at every one."""
    judge = Judge(case, scene)
    scene.put_back()
    assert in_child(case.plan(scene), at_call(function, int(number), when))
    scene.save()
    return kills(scene, lambda: recover(scene.paths), judge, reads=reads)


def main(folder, name, points, *point):
    """One case."""
    control.preload()
    case = next(each for each in CASES if each.name == name)
    scene = Scene(Path(folder), case.spec)
    try:
        case.before(scene)
        scene.save()
        gc.collect()
        gc.freeze()
        reads = points == "calls"
        count, states = (
            killed_recovery(scene, case, *point, reads=reads) if point else killed_change(scene, case, reads=reads)
        )
        sys.stdout.write(f"{count} {states}\n")
    finally:
        scene.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
