# SPDX-License-Identifier: Apache-2.0
"""What the next process makes of a journal, where the kill alone does not tell: a reboot since, steps of their own."""

import pytest
from support.crash_cases import change, reach
from support.scene import at_call, in_child

from hamid.core.errors import NodeError
from hamid.core.hardware.geometry import parse_layout
from hamid.core.planner.plan import switch_mode
from hamid.core.relayout.change import GpuTarget, plan_change
from hamid.engine.driver.session import DriverSession
from hamid.engine.steps.apply import apply
from hamid.engine.steps.recover import carry_each, recover
from hamid.node.driver import mutations

BOARDS = [("1xA30", "1g.6gb@0,1g.6gb@1"), ("1xH100-80GB-SXM5", "1g.10gb@0,1g.10gb@1")]


@pytest.mark.parametrize(("board", "layout"), BOARDS, ids=["mode stays", "mode is lost"])
def test_what_a_reboot_has_ended_is_not_undone(make_scene, board, layout):
    """A clearing that was killed half-way and a reboot: what it had destroyed does not come back, and no job waits."""
    scene = make_scene(board)
    reach({0: layout})(scene)
    assert in_child(change({0: ""})(scene), at_call("nvmlGpuInstanceDestroy", 2, "kill"))
    scene.reboot()
    (message,) = recover(scene.paths)
    assert message.endswith("ended with the reboot; nothing remains of it")
    assert scene.instances() == []
    scene.assert_agreed()


def test_a_claim_that_a_reboot_interrupted_is_dropped(make_scene):
    """Killed while it was made: its name is free after the reboot, and nothing of it is restored."""
    scene = make_scene("1xA30")
    reach({0: ""})(scene)
    layout = {0: "1g.6gb@0,1g.6gb@1"}
    assert in_child(change(layout, claim="job")(scene), at_call("nvmlGpuInstanceCreateComputeInstance", 2, "kill"))
    scene.reboot()
    assert len(recover(scene.paths)) == 1
    assert scene.facts().claims == ()
    change(layout, claim="job")(scene)()
    assert [claim.name for claim in scene.facts().claims] == ["job"]


@pytest.mark.parametrize("board", ["1xA100-SXM4-40GB", "1xA30"])
def test_a_mode_that_stays_pending_is_taken_back_by_the_step_itself(make_scene, board):
    """In a run of independent steps a failed mode change leaves no pending mode, and names the client."""
    scene = make_scene(board)
    user = scene.use(scene.observe().gpus[0].uuid)
    with DriverSession(scene.paths) as session:
        gpu = session.observe().gpus[0]
        messages = carry_each(session, [switch_mode(gpu, enabled=True)])
    assert f"{user.pid}" in " ".join(messages)
    gpu = scene.observe().gpus[0]
    assert (gpu.mig_enabled, gpu.mig_pending) == (False, False)


def test_what_somebody_took_away_meanwhile_is_noticed_at_the_end(make_scene):
    """The first instance of a plan vanishes while the second is made: the plan has failed and is taken back."""
    scene = make_scene("1xA30")
    reach({0: ""})(scene)
    found = plan_change(scene.observe(), [GpuTarget(gpu_index=0, layout=parse_layout("1g.6gb@0,1g.6gb@1"))])

    def take_away(step, state):
        if step == found.steps[1] and state == "begin":
            about = (step.gpu_uuid, 0, step.profile_id, 0)
            mutations.destroy_compute_instance(*about)
            mutations.destroy_gpu_instance(*about)

    with pytest.raises(
        NodeError, match=r"create 1g\.6gb@0 on GPU 0: NVML reported success, but the node does not show it"
    ):
        apply(scene.paths, found.steps, fingerprint=found.fingerprint, progress=take_away)
    assert scene.instances() == []
    scene.assert_agreed()
