# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.narrow import present

from hamid.core.errors import UsageError
from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import LayoutItem, Seat, parse_layout
from hamid.core.hardware.gpu import Health, Holder, Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.plan import Action, CreateInstance, SetMigMode
from hamid.core.relayout.change import Change, GpuTarget, differs, plan_change
from hamid.testing.boards import gpu_of, known_boards

A100 = "A100-40GB"
JOB = Holder(4711, "python")


def existing(gpu, text, *, used=False, compute_instances=1):
    """The GPU with these placed instances added."""
    board, found = board_of(gpu.profiles), []
    for item in parse_layout(text):
        profile = present(board.named(item.profile))
        place = next(place for place in profile.placements if place.start == item.start)
        seat = Seat(profile, place)
        found.append(
            Instance(
                profile=profile.name,
                profile_id=profile.profile_id,
                memory_mib=profile.memory_mib,
                placement=place,
                gi_id=place.start,
                compute_instances=compute_instances,
                mig_uuid=f"MIG-{seat}",
                holders=(JOB,) if used else (),
                used=used,
            )
        )
    return replace(gpu, instances=(*gpu.instances, *found))


def gpu(idle="", used="", *, mig=True):
    made = gpu_of(A100, mig=mig)
    made = existing(made, idle) if idle else made
    return existing(made, used, used=True) if used else made


def change(board, layout=None, mode=None):
    items = None if layout is None else parse_layout(layout) if layout else ()
    return plan_change(Snapshot(gpus=(board,)), [GpuTarget(gpu_index=0, mig_enabled=mode, layout=items)])


def words(steps):
    """Steps as short words: `mode on`, `- 1g.5gb@0`, `+ 3g.20gb@4`."""
    return [
        f"mode {'on' if step.enabled else 'off'}"
        if isinstance(step, SetMigMode)
        else f"{'+' if isinstance(step, CreateInstance) else '-'} {step.profile}@{step.placement.start}"
        for step in steps
    ]


def test_steps_come_in_the_only_legal_order():
    """Mode on, then what is destroyed, then what is created; mode off comes last."""
    assert words(change(gpu(mig=False), "3g.20gb@4,2g.10gb@0", mode=True).steps) == [
        "mode on",
        "+ 2g.10gb@0",
        "+ 3g.20gb@4",
    ]
    assert words(change(gpu("4g.20gb@0,1g.5gb@4"), "3g.20gb*2").steps) == [
        "- 4g.20gb@0",
        "- 1g.5gb@4",
        "+ 3g.20gb@0",
        "+ 3g.20gb@4",
    ]
    assert words(change(gpu("4g.20gb@0,1g.5gb@4"), mode=False).steps) == ["- 4g.20gb@0", "- 1g.5gb@4", "mode off"]


def test_only_what_must_change_changes():
    """Of seven small instances four go for a half; the three that can stay do."""
    made = change(gpu(",".join(f"1g.5gb@{start}" for start in range(7))), "3g.20gb,1g.5gb*3")
    assert (made.destroyed, made.created, made.kept) == (4, 1, 3)


def test_counts_and_items_say_what_happens():
    """Instances come by start, what is destroyed before what is created there; the counts add them up."""
    made = change(gpu("2g.10gb@0,1g.5gb@6"), "3g.20gb@0,1g.5gb@6")
    assert [(i.action, i.profile) for i in made.gpus[0].instances] == [
        (Action.DESTROY, "2g.10gb"),
        (Action.CREATE, "3g.20gb"),
        (Action.KEEP, "1g.5gb"),
    ]
    assert (made.created, made.destroyed, made.kept) == (1, 1, 1)
    assert made.gpus[0].reachable == (LayoutItem("3g.20gb", 0), LayoutItem("1g.5gb", 6))
    assert made.gpus[0].axis == 8
    assert made.gpus[0].mode is None


def test_a_used_instance_in_the_way_stops_its_gpu_alone():
    """The blocked GPU gets no step and says who is in the way and what is reachable; the other GPU is planned."""
    node = Snapshot(gpus=(gpu("1g.5gb@6", used="1g.5gb@1"), gpu_of(A100, index=1)))
    layout = parse_layout("4g.20gb,3g.20gb")
    made = plan_change(node, [GpuTarget(gpu_index=index, layout=layout) for index in (1, 0)])
    first, second = made.gpus
    (block,) = first.blocked
    assert block.instance.holders == (JOB,)
    assert block.why == "in use, in the way of 4g.20gb@0"
    assert first.steps == ()
    assert first.reachable == (LayoutItem("3g.20gb", 4),)
    assert [i.action for i in first.instances] == [Action.KEEP]
    assert words(second.steps) == words(made.steps) == ["+ 4g.20gb@0", "+ 3g.20gb@4"]
    assert made.blocked
    assert differs(made)


def test_a_used_instance_that_the_target_does_not_name_is_surplus():
    """Nothing is in the way, so all of the target is reachable; the used one is named as not part of it."""
    (made,) = change(gpu(used="1g.5gb@1"), "3g.20gb@4").gpus
    assert made.blocked[0].why == "in use, not part of the target"
    assert made.reachable == (LayoutItem("3g.20gb", 4),)


def test_the_used_instance_that_the_target_contains_is_the_one_that_serves_it():
    """Of two alike the one where something else is wanted blocks, and the other is what is reachable."""
    (made,) = change(gpu(used="1g.5gb@0,1g.5gb@1"), "1g.5gb+me@0,1g.5gb").gpus
    assert [block.instance.placement.start for block in made.blocked] == [0]
    assert made.reachable == (LayoutItem("1g.5gb", 1),)


def test_half_made_instances_never_serve_a_target():
    """An idle GPU instance without a compute instance is destroyed and recreated, with a warning."""
    made = change(existing(gpu(), "2g.10gb@0", compute_instances=0), "2g.10gb@0")
    assert words(made.steps) == ["- 2g.10gb@0", "+ 2g.10gb@0"]
    assert made.warnings == (
        "2g.10gb@0 on GPU 0 (NVIDIA A100-SXM4-40GB) has no compute instance and will be destroyed",
    )


def test_shared_instances_are_not_altered():
    """An idle instance that others divided between compute instances blocks what it is in the way of."""
    made = change(existing(gpu(), "3g.20gb@0", compute_instances=3), "2g.10gb@0")
    assert (
        made.gpus[0].blocked[0].why
        == "shared by 3 compute instances, which hamid does not change, in the way of 2g.10gb@0"
    )
    assert made.empty
    assert made.blocked


@pytest.mark.parametrize("used", [False, True])
def test_a_shared_instance_is_kept_where_the_target_has_it(used):
    """A divided instance stays, in use or idle, and does not block a target that contains it."""
    node = existing(gpu(), "3g.20gb@0", used=used, compute_instances=3)
    assert words(change(node, "3g.20gb,1g.5gb@4").steps) == ["+ 1g.5gb@4"]
    assert not differs(change(node, "3g.20gb"))


def test_a_target_may_leave_mode_or_instances():
    """Nothing asked, nothing done; the mode alone leaves instances, instances alone leave the mode."""
    assert not differs(change(gpu("1g.5gb@0")))
    assert change(gpu("1g.5gb@0", used="2g.10gb@2"), mode=True).kept == 2
    assert words(change(gpu(mig=False), mode=True).steps) == ["mode on"]
    assert words(change(gpu("1g.5gb@0"), "").steps) == ["- 1g.5gb@0"]
    assert not differs(change(gpu(mig=False), ""))
    assert not differs(change(gpu(mig=False), mode=False))


def test_a_used_instance_keeps_mig_mode_on():
    """Switching off needs every instance gone, so a used one blocks it."""
    made = change(gpu("1g.5gb@0", used="2g.10gb@2"), mode=False)
    assert made.empty
    assert [block.instance.profile for block in made.gpus[0].blocked] == ["2g.10gb"]
    assert made.gpus[0].mode is None


@pytest.mark.parametrize(
    ("changed", "layout", "mode", "word"),
    [
        ({"health": Health.LOST, "note": "fell off the bus", "profiles": ()}, "1g.5gb", True, "fell off the bus"),
        ({"health": Health.UNREADABLE}, "", None, "unreadable"),
        ({"mig_capable": False, "profiles": ()}, "1g.5gb", True, "has no MIG"),
        ({"mig_pending": False}, "", None, "switches MIG mode off"),
        ({"clients": (JOB,)}, None, False, "python(4711)"),
        ({"profiles": ()}, "1g.5gb", None, "lists no profiles"),
        ({"mig_enabled": False, "mig_pending": False}, "1g.5gb", None, "MIG mode off"),
        ({"mig_enabled": False, "mig_pending": False, "clients": (JOB,)}, "1g.5gb", True, "python(4711)"),
    ],
)
def test_a_gpu_that_cannot_be_changed_says_why(changed, layout, mode, word):
    """Lost, pending, without MIG, held by clients: a problem in words, no step, and the check is not passed."""
    made = change(replace(gpu(), **changed), layout, mode)
    assert word in made.gpus[0].problem
    assert made.empty
    assert made.blocked
    assert differs(made)


def test_clients_matter_only_when_the_mode_changes():
    """A process outside every instance does not keep instances from being made."""
    assert words(change(replace(gpu(), clients=(JOB,)), "1g.5gb@0", mode=True).steps) == ["+ 1g.5gb@0"]


def test_a_gpu_without_mig_is_as_good_as_disabled():
    """`all-disabled` holds on a node with GPUs that never had MIG."""
    assert not differs(change(replace(gpu(mig=False), mig_capable=False, profiles=()), mode=False))


@pytest.mark.parametrize(
    ("layout", "words_in_it"),
    [
        ("1g.6gb", ["GPU 0 (NVIDIA A100-SXM4-40GB)", "'1g.6gb'", "1g.5gb, 1g.5gb+me, 1g.10gb"]),
        ("3g.20gb@2", ["3g.20gb cannot start at 2", "GPU 0", "0, 4"]),
        ("1g.5gb*8", ["GPU 0", "8 of 7 compute slices", "1g.5gb*7"]),
        ("1g.5gb*64", ["GPU 0", "64 of 8 memory slices"]),
        ("3g.20gb*2,1g.5gb", ["3g.20gb*2 + 1g.5gb*1", "9 of 8 memory slices"]),
        ("4g.20gb@0,2g.10gb@2", ["2g.10gb@2 does not fit", "beside 4g.20gb@0"]),
        ("3g.20gb@4,3g.20gb@4", ["3g.20gb@4 does not fit"]),
        ("1g.5gb+me*2", ["1g.5gb+me*1"]),
    ],
)
def test_what_no_board_holds_is_an_error_with_the_legal_values(layout, words_in_it):
    """The error names profile, GPU and the legal placements, for every content of the GPU."""
    for board in (gpu(), gpu(used="7g.40gb@0"), gpu(mig=False)):
        with pytest.raises(UsageError) as caught:
            change(board, layout, mode=True)
        text = f"{caught.value.message} {caught.value.hint}"
        assert all(word in text for word in words_in_it), text


@pytest.mark.parametrize(
    "targets",
    [
        [GpuTarget(gpu_index=1)],
        [GpuTarget(gpu_index=0), GpuTarget(gpu_index=0)],
        [GpuTarget(gpu_index=0, mig_enabled=False, layout=(LayoutItem("1g.5gb"),))],
    ],
)
def test_targets_that_make_no_sense_are_errors(targets):
    """A GPU that is not there, two targets for one, instances without the mode."""
    with pytest.raises(UsageError):
        plan_change(Snapshot(gpus=(gpu(),)), targets)


def test_a_change_rests_on_its_snapshot():
    """Fingerprint and simulation come from the snapshot; no target makes an empty change."""
    node = Snapshot(gpus=(gpu(),), simulated=True)
    assert plan_change(node, []) == Change(gpus=(), steps=(), fingerprint=node.fingerprint(), simulated=True)


@pytest.mark.parametrize("name", known_boards())
def test_every_profile_of_every_board_can_fill_its_gpu(name):
    """As many instances as the driver lets be, from an empty GPU and back to none."""
    empty = gpu_of(name)
    for profile in empty.profiles:
        item = LayoutItem(profile.name)
        count = board_of(empty.profiles).creatable(board_of(empty.profiles).empty)[profile.name]
        target = GpuTarget(gpu_index=0, layout=(item,) * count)
        made = plan_change(Snapshot(gpus=(empty,)), [target])
        assert (made.created, made.blocked) == (count, False)
