# SPDX-License-Identifier: Apache-2.0
"""What an apply does when the driver refuses, hangs or loses a GPU, and when a person stops it."""

import os
import stat
import subprocess
from contextlib import closing

import pytest
from msgspec.structs import replace
from support.crash_cases import reach, towards
from support.ledgers import release_claim
from support.scene import apart

from hamid.core.claims.claim import InstanceKey
from hamid.core.claims.journal import Goal
from hamid.core.errors import DriverHung, GpuLost, InUse, ModePending, NodeError, NotPermitted, NvmlFailed, UsageError
from hamid.core.hardware.geometry import parse_layout
from hamid.core.hardware.gpu import Health
from hamid.core.planner.plan import switch_mode
from hamid.core.relayout.change import GpuTarget, plan_change
from hamid.engine.steps.apply import apply
from hamid.engine.steps.recover import recover
from hamid.node.ledger.ledger import Ledger
from hamid.node.simulation import control

IN_USE, INSUFFICIENT_RESOURCES, NO_PERMISSION, GPU_IS_LOST = 19, 23, 4, 15


def planned(scene, layouts, *, mode=True):
    """The steps towards these layouts, and the fingerprint of the node that they are for."""
    targets = [
        GpuTarget(gpu_index=index, mig_enabled=mode, layout=parse_layout(layout) if layout else ())
        for index, layout in layouts.items()
    ]
    found = plan_change(scene.observe(), targets)
    assert not found.blocked
    return found.steps, found.fingerprint


@pytest.mark.parametrize(
    ("function", "code", "error"),
    [
        ("nvmlGpuInstanceDestroy#1", IN_USE, NvmlFailed),
        ("nvmlComputeInstanceDestroy#1", IN_USE, NvmlFailed),
        ("nvmlDeviceCreateGpuInstanceWithPlacement#2", INSUFFICIENT_RESOURCES, NvmlFailed),
        ("nvmlGpuInstanceCreateComputeInstance#1", INSUFFICIENT_RESOURCES, NvmlFailed),
        ("nvmlDeviceCreateGpuInstanceWithPlacement#1", NO_PERMISSION, NotPermitted),
    ],
)
def test_a_refused_call_takes_everything_back(make_scene, function, code, error):
    """The node is as before, on the other GPU too; the error names call, GPU and code and tells what was undone."""
    scene = make_scene("2xA100-SXM4-40GB")
    reach({0: "2g.10gb@0,1g.5gb@6", 1: "7g.40gb@0"})(scene)
    before = scene.picture()
    name, _, number = function.partition("#")
    control.add_fault(f"{name}@0#{number}=error:{code}", state=scene.state)
    steps, fingerprint = planned(scene, {0: "3g.20gb@0,2g.10gb@4", 1: "3g.20gb@0"})
    with pytest.raises(error) as caught:
        apply(scene.paths, steps, fingerprint=fingerprint)
    assert name in str(caught.value)
    assert "GPU 0" in str(caught.value)
    if error is NvmlFailed:
        assert f"NVML {code}" in str(caught.value)
        assert caught.value.hint
    assert scene.picture() == before
    scene.assert_agreed()


def test_a_gpu_that_is_lost_midway_keeps_its_journal_until_it_is_back(make_scene):
    """Nothing can be undone on a lost GPU; once it is back the next command takes the rest back."""
    scene = make_scene("1xA30")
    reach({0: "1g.6gb@0"})(scene)
    control.add_fault(f"nvmlGpuInstanceCreateComputeInstance=error:{GPU_IS_LOST}", state=scene.state)
    steps, fingerprint = planned(scene, {0: "1g.6gb@0,2g.12gb@2"})
    gpu = scene.observe().gpus[0]
    with pytest.raises(GpuLost):
        apply(scene.paths, steps, fingerprint=fingerprint, progress=lambda step, state: _lose(scene, gpu, state))
    assert scene.observe().gpus[0].health is Health.LOST
    assert "could not be undone" in " ".join(recover(scene.paths))
    control.clear_faults(state=scene.state)
    control.set_knob("lost", "0", state=scene.state)
    assert recover(scene.paths)
    assert [profile for _, profile, _, _ in scene.instances()] in ([], ["1g.6gb"])
    assert all(count == 1 for *_, count in scene.instances())


def _lose(scene, gpu, state):
    if state == "failed":
        control.set_knob("lost", "1", uuid=gpu.uuid, state=scene.state)


def test_a_hung_gpu_keeps_no_other_waiting(make_scene):
    """While a call on one GPU never returns, the other's steps are done."""
    scene = make_scene("2xA30")
    reach({0: "", 1: ""})(scene)
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement@0=hang", state=scene.state)
    steps, fingerprint = planned(scene, {0: "4g.24gb@0", 1: "4g.24gb@0"})
    passed = []

    def note(step, state):
        passed.append((step.gpu_index, state))

    def work():
        with pytest.raises(DriverHung) as caught:
            apply(scene.paths, steps, fingerprint=fingerprint, timeout_seconds=2.0, progress=note)
        assert "GPU 0" in str(caught.value)
        assert (1, "done") in passed
        assert (0, "done") not in passed

    apart(work)
    control.clear_faults(state=scene.state)
    recover(scene.paths)
    scene.assert_agreed()
    assert scene.instances() == []


def test_a_pending_mode_is_taken_back_and_names_the_holders(make_scene):
    """With a client on the GPU the mode would stay pending: it is taken back, and the error names the process."""
    scene = make_scene("1xA100-SXM4-40GB")
    user = scene.use(scene.observe().gpus[0].uuid)
    steps, fingerprint = _switch_on(scene)
    with pytest.raises(ModePending) as caught:
        apply(scene.paths, steps, fingerprint=fingerprint)
    assert str(user.pid) in str(caught.value)
    gpu = scene.observe().gpus[0]
    assert (gpu.mig_enabled, gpu.mig_pending) == (False, False)
    scene.assert_agreed()


def test_a_pending_mode_stays_where_that_is_wanted(make_scene):
    """With keep_pending the mode waits for a reset, and nothing else follows on that GPU."""
    scene = make_scene("1xA100-SXM4-40GB")
    user = scene.use(scene.observe().gpus[0].uuid)
    steps, fingerprint = _switch_on(scene)
    report = apply(scene.paths, steps, fingerprint=fingerprint, keep_pending=True)
    assert "pending" in " ".join(report.messages)
    gpu = scene.observe().gpus[0]
    assert (gpu.mig_enabled, gpu.mig_pending) == (False, True)
    user.communicate()
    control.reset_gpu(state=scene.state)
    assert scene.observe().gpus[0].mig_enabled
    assert recover(scene.paths) == []


def _switch_on(scene):
    """The step that switches MIG on, as if the client had come after the plan was made."""
    snapshot = scene.observe()
    return (switch_mode(snapshot.gpus[0], enabled=True),), snapshot.fingerprint()


def test_a_process_that_comes_between_plan_and_step_keeps_its_instance(make_scene):
    """What was idle when planned and is used when it should go stays, and the other steps are taken back."""
    scene = make_scene("1xA100-SXM4-40GB")
    reach({0: "1g.5gb@0,2g.10gb@2"})(scene)
    steps, fingerprint = planned(scene, {0: "7g.40gb@0"})
    before = scene.picture()
    uuid = next(each.mig_uuid for each in scene.observe().gpus[0].instances if each.profile == "2g.10gb")
    came: list[subprocess.Popen[bytes]] = []

    def come(step, state):
        if state == "begin" and not came:
            came.append(scene.use(uuid))

    with pytest.raises(InUse) as caught:
        apply(scene.paths, steps, fingerprint=fingerprint, progress=come)
    assert str(came[0].pid) in str(caught.value)
    assert scene.picture() == before


def test_the_first_stop_ends_after_the_current_step(make_scene):
    """What is done stays and is ours, nothing more begins, and the journal is closed."""
    scene = make_scene("1xA30")
    reach({0: ""})(scene)
    steps, fingerprint = planned(scene, {0: "1g.6gb@0,1g.6gb@1,1g.6gb@2"})
    begun = []
    report = apply(
        scene.paths,
        steps,
        fingerprint=fingerprint,
        progress=lambda step, state: begun.append(state),
        stop=lambda: "begin" in begun,
    )
    assert len(report.done) == 1
    assert len(scene.instances()) == 1
    scene.assert_agreed()
    assert recover(scene.paths) == []


@pytest.mark.parametrize(("knob", "value"), [("uuids", "fresh"), ("uuids", "repeat"), ("gi_ids", "swapped")])
def test_instances_are_told_apart_by_seat_and_generation(make_scene, knob, value):
    """With repeated UUIDs and ids in any order the ledger knows its instances."""
    scene = make_scene("1xA100-SXM4-40GB")
    control.set_knob(knob, value, state=scene.state)
    generations = []
    for _ in range(3):
        towards(scene, {0: "2g.10gb@0,3g.20gb@4"}, claim="job")()
        scene.assert_agreed()
        facts = scene.facts()
        generations.append(sorted(own.generation for own in facts.own))
        claimed = {each.seat: each.mig_uuid for claim in facts.claims for each in claim.seats}
        found = {
            (gpu.uuid, each.profile_id, each.placement.start): each.mig_uuid
            for gpu in scene.observe().gpus
            for each in gpu.instances
        }
        assert {(s.gpu_uuid, s.profile_id, s.start): uuid for s, uuid in claimed.items()} == found
        with closing(Ledger.open(scene.paths)) as ledger:
            release_claim(ledger, "job")
        reach({0: ""})(scene)
    assert generations[0] < generations[1] < generations[2]


def test_an_instance_gets_its_device_nodes(make_scene):
    """After a creation the nodes of GPU instance and compute instance lie below /dev with the driver's numbers."""
    scene = make_scene("1xA100-SXM4-40GB")
    reach({0: "3g.20gb@4"})(scene)
    nodes = sorted((scene.root / "dev/nvidia-caps").iterdir())
    assert len(nodes) == 2
    for node in nodes:
        status = node.stat()
        assert stat.S_ISCHR(status.st_mode)
        assert node.name == f"nvidia-cap{os.minor(status.st_rdev)}"


def test_an_open_journal_of_one_gpu_keeps_no_other_waiting(make_scene):
    """While the journal is open for a GPU that does not answer, others change; it ends once the GPU is back."""
    scene = make_scene("2xA30")
    reach({0: "", 1: ""})(scene)
    hung = planned(scene, {0: "4g.24gb@0"})
    control.add_fault("nvmlDeviceCreateGpuInstanceWithPlacement@0=hang", state=scene.state)

    def hang():
        with pytest.raises(DriverHung):
            apply(scene.paths, hung[0], fingerprint=hung[1], timeout_seconds=0.3)

    apart(hang)
    control.set_knob("lost", "1", uuid=hung[0][0].gpu_uuid, state=scene.state)
    other = planned(scene, {1: "4g.24gb@0"})
    apply(scene.paths, other[0], fingerprint=other[1], timeout_seconds=1.0)
    assert scene.instances() == [(1, "4g.24gb", 0, 1)]
    control.clear_faults(state=scene.state)
    control.set_knob("lost", "0", state=scene.state)
    recover(scene.paths)
    scene.assert_agreed()


def test_an_unknown_gpu_is_refused_before_anything_begins(make_scene):
    """A step for a GPU that is not there: nothing is journaled as done, the others' steps are taken back."""
    scene = make_scene("1xA30")
    steps, fingerprint = planned(scene, {0: "1g.6gb@0"})
    other = replace(steps[-1], gpu_uuid="GPU-00000000-0000-0000-0000-000000000000")
    with pytest.raises(NodeError):
        apply(scene.paths, (*steps, other), fingerprint=fingerprint)
    assert scene.instances() == []
    scene.assert_agreed()


def test_a_claim_that_names_a_seat_twice_stops_nobody(make_scene):
    """It is refused before anything begins; one that a journal holds already is recovered from, as one seat."""
    scene = make_scene("1xA30")
    reach({0: "1g.6gb@0"})(scene)
    steps, fingerprint = planned(scene, {0: "1g.6gb@0,1g.6gb@1"})
    seat = (steps[0].gpu_uuid, steps[0].profile_id, 0)
    with pytest.raises(UsageError, match="twice"):
        apply(scene.paths, steps, fingerprint=fingerprint, claim="job", claim_instances=[seat, seat])
    assert scene.observe().fingerprint() == fingerprint
    with closing(Ledger.open(scene.paths)) as ledger:
        ledger.begin_run((), goal=Goal.ALL, operator_name="job", claim_seats=[InstanceKey(*seat)] * 2)
    assert "its claim 'job' was recorded" in recover(scene.paths)[0]
    assert recover(scene.paths) == []
