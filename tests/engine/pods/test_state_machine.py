# SPDX-License-Identifier: Apache-2.0
"""Random lives of hamid's node: pods come, work, restart and go; hamid is killed anywhere, the node reboots."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.nodes import World, lose_ledger, remember, running
from support.scene import MUTATIONS, PLACE, Scene, at_call, at_write, in_child

from hamid.core.claims.device_ids import device_id
from hamid.node.ledger.ledger import Ledger
from hamid.node.simulation import control

SPECS = ("1xA100-SXM4-40GB,1xA30", "2xH100-80GB-SXM5")
SIZES = (4000, 5000, 9000, 11000, 19000)
SETTINGS = {"allocate_deadline_seconds": 1.5}
# Where hamid dies: nowhere, at some call, right after some mutation, before or after some write.
DEATHS = st.one_of(
    st.none(),
    st.none(),
    st.builds(at_call, st.just("nvml*"), st.integers(1, 400), st.just("kill")),
    st.builds(at_call, st.sampled_from(MUTATIONS), st.integers(1, 3), st.sampled_from(["kill", "kill-after"])),
    st.builds(at_write, st.integers(1, 12), st.sampled_from(["call", "return"])),
)


class Life(RuleBasedStateMachine):
    """After every event each grant is there, no two share a placement, and nothing in use was changed."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=PLACE)
        self.world = World()
        self.told = {}
        self.users = {}
        self.number = 0

    @initialize(spec=st.sampled_from(SPECS))
    def begin(self, spec):
        self.scene = Scene(Path(self.folder.name), spec)
        self.uuids = [gpu.uuid for gpu in self.scene.observe().gpus]
        assert not self.with_node(lambda node: None)

    def teardown(self):
        if hasattr(self, "scene"):
            self.scene.close()
        self.folder.cleanup()
        os.environ.pop("HAMI_SIM_STATE", None)

    def with_node(self, work, death=None):
        """Hamid starts in a process of its own, does this and ends, or dies; True if it died."""

        def live():
            with running(self.scene, self.world, **SETTINGS) as node:
                work(node)

        return in_child(live, death or (lambda: None))

    def free_id(self, gpu):
        held = {each for claim in self.scene.facts().claims for each in claim.owner.device_ids}
        parts = [device_id(uuid, n) for uuid in (self.uuids[gpu], *self.uuids) for n in range(10)]
        return next(each for each in parts if each not in held)

    # -- events --

    @rule(gpu=st.integers(0, 1), size=st.sampled_from(SIZES), death=DEATHS)
    def pod_comes(self, gpu, size, death):
        """Kubelet admits a pod; where hamid dies it fails the pod, which holds nothing then."""
        name = f"p{self.number}"
        self.number += 1
        self.world.memory_mib = size
        pod = self.world.add(name)
        chosen = self.free_id(gpu)
        died = self.with_node(lambda node: node.allocate([chosen]), death)
        (claim, *_) = [each for each in self.scene.facts().claims if each.owner.uid == pod.uid] or [None]
        if died or claim is None:
            self.world.end(name, "Failed")
            return
        assert not claim.pending
        self.world.hold(name, [chosen])
        self.told[name] = (pod.uid, "main", (chosen,), self.granted(claim.id))
        self.kubelet_writes()

    def granted(self, claim_id):
        ledger = Ledger.open(self.scene.paths)
        try:
            return ledger.granted(claim_id)
        finally:
            ledger.close()

    def kubelet_writes(self):
        remember(self.scene, *self.told.values())

    @precondition(lambda self: len(self.told) > len(self.users))
    @rule(data=st.data())
    def work_begins(self, data):
        """A process of the pod computes on its instance; before that hamid lets the container start."""
        name = data.draw(st.sampled_from(sorted(set(self.told) - set(self.users))))
        self.start(name)
        uuid = self.told[name][3].envs["NVIDIA_VISIBLE_DEVICES"]
        self.users[name] = (uuid, self.scene.use(uuid), self.place_of(uuid))

    def start(self, name, death=None):
        def work(node):
            assert node.prestart(self.told[name][2]) is None

        return self.with_node(work, death)

    def place_of(self, uuid):
        return next(
            (gpu.uuid, each.gi_id, each.placement)
            for gpu in self.scene.observe().gpus
            for each in gpu.instances
            if each.mig_uuid == uuid
        )

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def work_ends(self, data):
        """The process ends; the pod goes on."""
        _, user, _ = self.users.pop(data.draw(st.sampled_from(sorted(self.users))))
        user.communicate()

    @precondition(lambda self: self.told)
    @rule(data=st.data(), death=DEATHS)
    def container_restarts(self, data, death):
        """PreStartContainer, during which hamid may die."""
        self.start(data.draw(st.sampled_from(sorted(self.told))), death)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def pod_ends(self, data):
        """The pod is terminal for kubelet; a process of it may go on a while."""
        name = data.draw(st.sampled_from(sorted(self.told)))
        self.world.end(name)
        del self.told[name]
        self.kubelet_writes()

    @rule(death=DEATHS)
    def hamid_reconciles(self, death):
        """A reconciliation, or what is done of it."""
        self.with_node(lambda node: node.reconcile(), death)

    @rule(call=st.sampled_from(MUTATIONS), code=st.sampled_from([19, 23, 4, 999]), size=st.sampled_from(SIZES))
    def the_driver_refuses(self, call, code, size):
        """Some calls of an Allocate fail: the pod gets all or nothing, perhaps elsewhere."""
        control.add_fault(f"{call}#1=error:{code}", state=self.scene.state)
        self.pod_comes(0, size, None)
        control.clear_faults(state=self.scene.state)

    @rule(death=DEATHS)
    def node_reboots(self, death):
        """Processes and instances are gone; hamid starts, and may die while it restores."""
        for name in list(self.users):
            self.users.pop(name)[1].communicate()
        self.scene.reboot()
        self.with_node(lambda node: None, death)

    @rule(death=DEATHS)
    def ledger_is_lost(self, death):
        """Its files are deleted while hamid does not run, with all that was promised there."""
        assert not self.with_node(lambda node: None)
        lose_ledger(self.scene)
        self.with_node(lambda node: None, death)
        assert not self.with_node(lambda node: None)

    # -- what holds --

    @invariant()
    def nothing_in_use_was_altered(self):
        if hasattr(self, "scene"):
            for uuid, _, place in self.users.values():
                assert self.place_of(uuid) == place

    @invariant()
    def promises_hold(self):
        if not hasattr(self, "scene"):
            return
        claims = {each.owner.uid: each for each in self.scene.facts().claims}
        taken: dict[str, int] = {}
        for uid, _, chosen, _ in self.told.values():
            assert not claims[uid].pending
            assert claims[uid].owner.device_ids == chosen
            for each in claims[uid].seats:
                mask = taken.get(each.seat.gpu_uuid, 0)
                assert not mask & each.placement.mask
                taken[each.seat.gpu_uuid] = mask | each.placement.mask

    @rule()
    def everybody_goes(self):
        """All pods end and no process is left: claims, instances and open runs are gone after two reconciliations."""
        for name in list(self.users):
            self.users.pop(name)[1].communicate()
        for name in list(self.told):
            self.pod_is_over(name)
        self.kubelet_writes()

        def work(node):
            node.reconcile()
            node.reconcile()
            assert node.parts.ledger.open_runs() == ()

        assert not self.with_node(work)
        assert self.scene.facts().claims == ()
        assert [each for gpu in self.scene.observe().gpus for each in gpu.instances if each.generation] == []

    def pod_is_over(self, name):
        self.world.end(name)
        del self.told[name]


class LongLife(Life):
    """The same for longer."""


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=16)  # a second each
TestLongLife = pytest.mark.full(LongLife.TestCase)
TestLongLife.settings = settings(max_examples=100, stateful_step_count=30)  # as long as the full tests have time
