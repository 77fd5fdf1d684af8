# SPDX-License-Identifier: Apache-2.0
"""Random lives of a node: changes, claims, users, faults, hangs, kills and reboots in any order."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.scene import MUTATIONS, PLACE, Scene, at_call, in_child, under

from hamid.core.errors import HamiError
from hamid.core.hardware.geometry import LayoutItem
from hamid.core.planner.plan import CreateInstance
from hamid.core.relayout.change import GpuTarget, plan_change
from hamid.engine.steps.apply import apply
from hamid.engine.steps.recover import recover
from hamid.engine.steps.restore import release, restore
from hamid.node.simulation import control

SPECS = ("1xA100-SXM4-40GB,1xA30", "1xH100-80GB-SXM5,1xRTX-PRO-6000")
# IN_USE, INSUFFICIENT_RESOURCES, NO_PERMISSION, UNKNOWN
CODES = (19, 23, 4, 999)
PICKS = st.lists(st.integers(0, 10_000), min_size=1, max_size=6)


class Life(RuleBasedStateMachine):
    """After every event: ledger and NVML agree, every claim has its instances, nothing in use was altered."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=PLACE)
        self.users = {}
        self.claims = set()
        self.named = 0

    @initialize(spec=st.sampled_from(SPECS))
    def begin(self, spec):
        os.environ.pop("HAMI_SIM_FAULTS", None)
        self.scene = Scene(Path(self.folder.name), spec)

    def teardown(self):
        if hasattr(self, "scene"):
            self.scene.close()
        self.folder.cleanup()
        os.environ.pop("HAMI_SIM_STATE", None)

    # -- events --

    @rule(index=st.integers(0, 1), picks=PICKS, held=st.booleans())
    def change(self, index, picks, held):
        """A layout around what is used, perhaps for a claim."""
        work, name = self.planned(index, picks, held=held)
        work()
        self.claims |= {name} if name else set()

    @rule(index=st.integers(0, 1), picks=PICKS, held=st.booleans(), call=st.integers(1, 600))
    def change_killed(self, index, picks, held, call):
        """The process that changes is killed at some call; the next one recovers."""
        work, name = self.planned(index, picks, held=held)
        in_child(work, at_call("nvml*", call, "kill"))
        self.come_back(name)

    @rule(
        index=st.integers(0, 1),
        picks=PICKS,
        held=st.booleans(),
        function=st.sampled_from(MUTATIONS),
        call=st.integers(1, 2),
        code=st.sampled_from(CODES),
    )
    def change_refused(self, index, picks, held, function, call, code):
        """The driver refuses one call: all of it happens, or nothing."""
        work, name = self.planned(index, picks, held=held)
        before = self.scene.picture()
        control.add_fault(f"{function}#{call}=error:{code}", state=self.scene.state)
        try:
            work()
        except HamiError:
            control.clear_faults(state=self.scene.state)
            assert self.scene.picture() == before
        else:
            control.clear_faults(state=self.scene.state)
            self.claims |= {name} if name else set()

    @rule(index=st.integers(0, 1), picks=PICKS, held=st.booleans(), function=st.sampled_from(MUTATIONS))
    def change_hung(self, index, picks, held, function):
        """A driver call never returns; the process gives up, and the next one recovers."""
        work, name = self.planned(index, picks, held=held, timeout_seconds=0.1)
        in_child(under(f"{function}#1=hang", work), lambda: None)
        self.come_back(name)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), call=st.none() | st.integers(1, 400))
    def let_go(self, data, call):
        """A claim ends, perhaps with a kill on the way; what a process uses outlives it."""
        name = data.draw(st.sampled_from(sorted(self.claims)))
        if call is None:
            release(self.scene.paths, name)
            self.claims.discard(name)
            return
        in_child(lambda: release(self.scene.paths, name), at_call("nvml*", call, "kill"))
        self.come_back(None)
        self.claims = {claim.name for claim in self.scene.facts().claims}

    @rule(pick=st.integers(0, 10_000))
    def use(self, pick):
        """A process takes an instance into use."""
        idle = [each for gpu in self.scene.observe().gpus for each in gpu.instances]
        if idle and len(self.users) < 4:
            uuid = idle[pick % len(idle)].mig_uuid
            self.users[self.scene.use(uuid)] = uuid

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def end_use(self, data):
        """A process ends."""
        user = data.draw(st.sampled_from(sorted(self.users, key=lambda user: user.pid)))
        user.communicate()
        del self.users[user]

    @rule(call=st.none() | st.integers(1, 400))
    def reboot(self, call):
        """The node reboots, and every claim comes back where it was, even when a first restore is killed."""
        for user in self.users:
            user.communicate()
        self.users.clear()
        self.scene.reboot()
        if call is not None:
            in_child(lambda: restore(self.scene.paths), at_call("nvml*", call, "kill"))
        assert restore(self.scene.paths).complete

    # -- what holds after each --

    @invariant()
    def agreed(self):
        if hasattr(self, "scene"):
            self.scene.assert_agreed()
            assert {claim.name for claim in self.scene.facts().claims} == self.claims

    @invariant()
    def claims_have_their_instances(self):
        if hasattr(self, "scene"):
            there = {
                (gpu.uuid, each.profile_id, each.placement.start)
                for gpu in self.scene.observe().gpus
                for each in gpu.instances
            }
            seats = [each.seat for claim in self.scene.facts().claims for each in claim.seats]
            assert {(seat.gpu_uuid, seat.profile_id, seat.start) for seat in seats} <= there

    @invariant()
    def used_instances_live(self):
        if hasattr(self, "scene"):
            there = {
                holder.pid: each.mig_uuid
                for gpu in self.scene.observe().gpus
                for each in gpu.instances
                for holder in each.holders
            }
            assert there == {user.pid: uuid for user, uuid in self.users.items()}

    # -- inside --

    def planned(self, index, picks, *, held, timeout_seconds=25.0):
        """A change of one GPU to what is used there and some more; the name of the claim that it asks for."""
        snapshot = self.scene.observe()
        gpu = snapshot.gpus[index]
        found = plan_change(snapshot, [GpuTarget(gpu_index=index, mig_enabled=True, layout=some_layout(gpu, picks))])
        assert not found.blocked
        made = [step for step in found.steps if isinstance(step, CreateInstance)]
        self.named += 1
        name = f"job-{self.named}" if held and made else None
        seats = [(step.gpu_uuid, step.profile_id, step.placement.start) for step in made] if name else []

        def work():
            apply(
                self.scene.paths,
                found.steps,
                fingerprint=found.fingerprint,
                claim=name,
                claim_instances=seats,
                timeout_seconds=timeout_seconds,
            )

        return work, name

    def come_back(self, name):
        """The next process recovers; a claim that was asked for holds or not, all others do."""
        recover(self.scene.paths)
        assert recover(self.scene.paths) == []
        if name in {claim.name for claim in self.scene.facts().claims}:
            self.claims.add(name)


def some_layout(gpu, picks):
    """The used instances of a GPU and those picks that fit beside them."""
    layout = [LayoutItem(each.profile, each.placement.start) for each in gpu.instances if each.used]
    taken = 0
    for each in gpu.instances:
        taken |= each.placement.mask if each.used else 0
    seats = [
        (profile.name, place)
        for profile in gpu.profiles
        if not profile.suffix and profile.compute_slices < 7
        for place in profile.placements
    ]
    for pick in picks if seats else ():
        name, place = seats[pick % len(seats)]
        if not place.mask & taken:
            taken |= place.mask
            layout.append(LayoutItem(name, place.start))
    return tuple(layout)


SHORT = settings(max_examples=20, stateful_step_count=20)  # half a second each


class LongLife(Life):
    """The same for longer."""


TestLife = Life.TestCase
TestLife.settings = SHORT
TestLongLife = pytest.mark.full(LongLife.TestCase)
TestLongLife.settings = settings(SHORT, max_examples=300, stateful_step_count=60)  # as long as the full tests have time
