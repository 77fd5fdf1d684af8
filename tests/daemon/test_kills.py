# SPDX-License-Identifier: Apache-2.0
"""hamid killed by -9 at random instants, while pods come, restart and go.

The pods and the pauses are drawn from a seed; where in its code a kill meets hamid is left to the machine. A kill at
each driver call and each write of a change is the matter of tests/engine/steps. These tests are about hamid as a whole:
at any instant, no claim of a living pod is lost and nothing leaks.
"""

import os
import random
import signal
import threading

import pytest
from support.running import RESOURCE
from support.waiting import until

from hamid.node.simulation import control
from hamid.testing.kubelet import AdmissionError, ContainerSpec, PodSpec

# A start takes half a second or more; kills fall into it, into the work after it and between.
LATEST_SECONDS = 0.5
MOST_PODS = 8


class Churn:
    """Pods that come, restart and go, one step after the other; `pods` has the MIG UUIDs of those that live."""

    def __init__(self, node, choose):
        self.node = node
        self.choose = choose
        self.pods = {}
        self.given = 0
        self.refused = 0
        self.quiet = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while not self.quiet.wait(self.choose.uniform(0, 0.02)):
                self.step()
        except BaseException as error:
            self.failure = error
            raise

    def step(self):
        if len(self.pods) < MOST_PODS and self.choose.random() < 0.6:
            self.come()
        elif self.pods:
            uid = self.choose.choice(sorted(self.pods))
            if self.choose.random() < 0.5:
                self.restart(uid)
            else:
                del self.pods[uid]
                self.node.kubelet.finish_pod(uid)

    def come(self):
        spec = PodSpec(
            name=f"p{self.given + self.refused}",
            annotations={"nvidia.com/gpumem": self.choose.choice(["4000", "4000", "8000"])},
            containers=[ContainerSpec(limits={RESOURCE: "1"})],
        )
        try:
            uid = self.node.kubelet.add_pod(spec, start=False)
        except AdmissionError:
            self.refused += 1
        else:
            self.given += 1
            self.pods[uid] = self.node.uuids(uid)
            self.restart(uid)

    def restart(self, uid):
        """The container starts, for the first time or again."""
        try:
            environment = self.node.kubelet.start_container(uid, "main")
        except AdmissionError:
            return  # no answer; kubelet would try again
        assert environment["NVIDIA_VISIBLE_DEVICES"].split(",") == self.pods[uid]


def agree(node, churn):
    """Nothing more and nothing less than the living pods' instances, in NVML and in the ledger."""
    held = sorted(uuid for uuids in churn.pods.values() for uuid in uuids)

    def same():
        # One that is half made has no UUID yet.
        return sorted(map(str, node.instances())) == held and len(node.facts().claims) == len(churn.pods)

    try:
        until(same, 30)
    except AssertionError:
        claims = [(each.name, each.pending, each.seats) for each in node.facts().claims]
        raise AssertionError((held, node.instances(), claims, node.log.read_text()[-4000:])) from None
    assert {claim.owner.uid for claim in node.facts().claims} == set(churn.pods)
    assert not any(claim.pending for claim in node.facts().claims)


def slow(node):
    """Its changes take so long that a kill often falls between two calls of one change."""
    for function in ("nvmlDeviceCreateGpuInstanceWithPlacement", "nvmlGpuInstanceDestroy"):
        control.add_fault(f"{function}=latency:15", state=str(node.state))
    return node


def killed(make, cycles, seed):
    """So many lives that end by -9; every pod that was given something keeps it."""
    choose = random.Random(seed)
    node = slow(make())
    node.start()
    node.kubelet.wait_for(20)
    churn = Churn(node, random.Random(seed + 1))
    churn.come()
    ((uid, (used,)),) = churn.pods.items()
    kept = {uid: churn.pods.pop(uid)}
    control.add_process(used, os.getpid(), 100, state=str(node.state))
    churn.thread.start()
    for cycle in range(cycles):
        if cycle % 2:
            # However slow the machine is, every other life gives something to a pod.
            until(lambda given=churn.given: churn.given > given or churn.failure)
        assert not churn.quiet.wait(choose.uniform(0, LATEST_SECONDS))
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()
        # Every grant that was not returned is still there, also while no hamid runs.
        living = list(churn.pods.items())
        there = set(node.instances())
        missing = {name: uuids for name, uuids in living if not set(uuids) <= there and name in churn.pods}
        assert missing == {}, (there, node.facts().claims, node.log.read_text()[-6000:])
        assert [each.target for each in control.processes(str(node.state))] == [used]
        node.start()
    churn.quiet.set()
    churn.thread.join(60)
    assert churn.failure is None
    churn.pods |= kept
    node.kubelet.wait_for(1, 60)
    agree(node, churn)
    assert churn.given > cycles // 2
    control.remove_process(os.getpid(), state=str(node.state))
    for name in list(churn.pods):
        del churn.pods[name]
        node.kubelet.finish_pod(name)
    agree(node, churn)
    assert node.stop() == 0
    return churn


def test_fifteen_kills_lose_leak_and_harm_nothing(hamid):
    """No claim of a living pod is lost, no instance leaks, none that is used goes; at the end the node is empty."""
    killed(hamid, 15, seed=7)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_thousand_kills_lose_leak_and_harm_nothing(hamid):
    """The same a thousand times, with other instants."""
    killed(hamid, 1000, seed=11)
