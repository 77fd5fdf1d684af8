# SPDX-License-Identifier: Apache-2.0
"""A process that changes the node is killed at every driver call and every write; then the next one recovers."""

import pytest
from crash_cases import CASES
from scene import at_call, in_child, kills, under

from hamid.engine.recover import recover


@pytest.fixture
def prepared(make_scene):
    """Makes the node of a case, prepared and saved."""

    def make(case):
        scene = make_scene(case.spec)
        case.before(scene)
        scene.save()
        return scene

    return make


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kill_at_any_point_is_recovered_from(case, prepared, record_property):
    """Whatever point it dies at: nothing is leaked, half-made or harmed, and the change can still be made."""
    scene = prepared(case)
    judge = Judge(case, scene)
    scene.put_back()
    work = under(case.faults, case.plan(scene))
    if case.faults:
        assert not in_child(work, lambda: None)
        assert scene.picture() == judge.before
        scene.put_back()
    count = kills(scene, work, judge)
    record_property("kills", count)
    assert count > 100


@pytest.mark.parametrize("case", [CASES[2], CASES[3], CASES[7]], ids=lambda case: case.name)
@pytest.mark.parametrize(
    "point",
    [
        ("nvmlGpuInstanceDestroy", 1, "kill-after"),
        pytest.param(("nvmlComputeInstanceDestroy", 1, "kill"), marks=pytest.mark.full),
    ],
)
def test_a_kill_during_recovery_is_recovered_from(case, point, prepared, record_property):
    """A recovery may itself die at any point; the one after it ends what both began."""
    scene = prepared(case)
    judge = Judge(case, scene)
    scene.put_back()
    assert in_child(case.plan(scene), at_call(*point))
    scene.save()
    count = kills(scene, lambda: recover(scene.paths), judge)
    record_property("kills", count)
    assert count > 50
