# SPDX-License-Identifier: Apache-2.0
"""A process that applies a plan is killed at its n-th NVML call, for every n; then recovery runs."""

import os
import signal

import pytest

from hamid.core.change import GpuTarget, plan_change
from hamid.core.geometry import parse_layout
from hamid.engine.apply import apply
from hamid.engine.observe import observe
from hamid.engine.recover import recover, repair_plan
from hamid.node import simulation, simulator
from hamid.node.paths import Paths

PLANS = [
    ("1xA30", None, "1g.6gb@0,2g.12gb@2"),
    ("1xA100-SXM4-40GB", "2g.10gb@0,1g.5gb@6", "2g.10gb@0,3g.20gb@4"),
    ("1xH100-80GB-SXM5", "1g.10gb@0,1g.10gb@1,1g.10gb@2", "4g.40gb@0"),
    ("1xRTX-PRO-6000", "2g.48gb@6", "1g.24gb@0,1g.24gb@3,2g.48gb@6"),
]
MOST_CALLS = 2000


def steps_towards(paths, layout):
    snapshot = observe(paths)
    mode = None if snapshot.gpus[0].mig_enabled else True
    change = plan_change(snapshot, [GpuTarget(gpu_index=0, mig_enabled=mode, layout=parse_layout(layout))])
    return change.steps, snapshot.fingerprint()


def reach(paths, layout):
    steps, fingerprint = steps_towards(paths, layout)
    apply(paths, steps, fingerprint=fingerprint)


def killed_at(call, paths, layout):
    """Apply in a child that dies at that NVML call; False once the child gets through alive."""
    steps, fingerprint = steps_towards(paths, layout)
    child = os.fork()
    if child == 0:
        os.environ["HAMI_SIM_FAULTS"] = f"nvml*#{call}=kill"
        try:
            apply(paths, steps, fingerprint=fingerprint)
        except BaseException:  # noqa: BLE001  # the child must end here, whatever happened
            os._exit(3)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def layout_of(paths):
    gpu = observe(paths).gpus[0]
    return sorted((i.profile, i.placement.start, i.compute_instances) for i in gpu.instances)


@pytest.mark.full
@pytest.mark.parametrize(("spec", "before", "after"), PLANS)
def test_a_kill_at_any_call_leaves_what_recovery_ends(spec, before, after, tmp_path, monkeypatch, record_property):
    """Whatever call it dies at, recovery leaves the old or the new layout whole, nothing half-made, and is done."""
    simulator.preload()
    calls = 0
    while True:
        calls += 1
        assert calls < MOST_CALLS
        state = tmp_path / f"node{calls}"
        simulation.up(state, spec)
        monkeypatch.setenv("HAMI_SIM_STATE", str(state))
        paths = Paths(str(simulation.root_of(state)))
        if before is not None:
            reach(paths, before)
        old = layout_of(paths)
        died = killed_at(calls, paths, after)
        recover(paths)
        found = layout_of(paths)
        if not died:
            break
        assert all(count == 1 for _, _, count in found)
        if found != old:
            reach_again = steps_towards(paths, after)[0]
            assert reach_again == ()
        assert recover(paths) == []
        assert [each.kind for each in repair_plan(paths)[0] if each.kind != "foreign"] == []
        reach(paths, after)
        assert [count for _, _, count in layout_of(paths)] == [1] * len(parse_layout(after))
        simulation.down(state)
    record_property("kills", calls - 1)
    assert calls > 20
