# SPDX-License-Identifier: Apache-2.0
"""A configuration that changes while pods come and go."""

import random
import signal
import threading

from support.running import figure
from support.waiting import until

from hamid.node.simulation import control
from hamid.testing.kubelet_devices import AdmissionError


def test_a_mode_is_changed_gpu_by_gpu_as_they_are_drained(hamid):
    """The idle GPU leaves MIG at once; the one with a pod waits, says so, takes nothing new, and follows by itself."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    uid = node.add("job")
    (uuid,) = node.uuids(uid)
    node.configure(mode="hami-core")
    until(lambda: [gpu.mig_enabled for gpu in node.gpus()].count(True) == 1)
    text = until(lambda: next((line for line in node.get("/readyz?verbose")[1].splitlines() if "waits" in line), ""))
    assert "MIG mode off waits: it is held by" in text
    assert (
        sum(line.endswith(" 1.0") for line in node.get("/metrics")[1].splitlines() if "hamid_gpu_pending{" in line) == 1
    )
    assert uuid in node.instances()
    assert node.kubelet.restart_container(uid, "main")["NVIDIA_VISIBLE_DEVICES"] == uuid
    node.kubelet.finish_pod(uid)
    until(lambda: not any(gpu.mig_enabled for gpu in node.gpus()))
    until(lambda: "waits" not in node.get("/readyz?verbose")[1])


def test_a_reload_while_the_driver_is_awaited_says_nothing_of_the_driver(hamid):
    """The new configuration holds, and what hamid waits for is still told."""
    node = hamid()
    control.add_fault("nvmlInit*=error:9", state=str(node.state))
    node.start()
    until(lambda: node.events("node_waits"))
    node.configure(split_count=3)
    node.process.send_signal(signal.SIGHUP)
    until(lambda: node.events("config_reloaded"))
    tried = figure(node, "hamid_observe_errors_total")
    until(lambda: figure(node, "hamid_observe_errors_total") > tried)
    assert not node.events("node_goes_on")
    assert node.get("/readyz")[0] == 503
    control.clear_faults(state=str(node.state))
    node.kubelet.wait_for(6)
    assert node.events("node_goes_on")


class Reloads(threading.Thread):
    """Changes the configuration again and again, to good and bad ones, and asks for reloads."""

    def __init__(self, node, seed):
        super().__init__(daemon=True)
        self.node, self.random, self.done = node, random.Random(seed), threading.Event()
        self.times = 0

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.done.set()
        self.join()

    def run(self):
        while not self.done.wait(self.random.uniform(0.0, 0.2)):
            self.node.configure(**self.settings())
            if self.random.random() < 0.7:
                self.node.process.send_signal(signal.SIGHUP)
            self.times += 1

    def settings(self):
        choose = self.random.choice
        if self.times % 4 == 1:
            return choose([{"split_count": 0}, {"mode": "x"}, {"gpu_modes": {"gpu": "mig"}}, {"nonsense": 1}])
        return {
            "split_count": choose([5, 7, 10]),
            "gpu_modes": choose([{}, {"1": "hami-core"}]),
            "policy": choose(["template", "packed"]),
            "gpu_policy": choose(["binpack", "spread"]),
            "filter_indexes": choose([[], [], [0]]),
            "preferred_allocation": choose([True, False]),
        }


def test_reloads_under_load_harm_no_pod(hamid):
    """Pods that stay keep their very instances, those that go give theirs back; at last the last file is in force."""
    node = hamid("2xA100-SXM4-40GB").start()
    node.kubelet.wait_for(20)
    keepers = {uid: node.uuids(uid) for uid in (node.add(f"keeper{number}") for number in range(3))}
    reloads = Reloads(node, seed=7)
    with reloads:
        admitted = sum(admit_and_end(node, number) for number in range(25))
    node.configure(split_count=4)
    node.process.send_signal(signal.SIGHUP)
    until(lambda: len(node.kubelet.healthy) == 8)
    until(lambda: set(node.instances()) == {each for uuids in keepers.values() for each in uuids})
    for uid, uuids in keepers.items():
        assert node.kubelet.restart_container(uid, "main")["NVIDIA_VISIBLE_DEVICES"].split(",") == uuids
    assert admitted >= 3
    assert reloads.times >= 4
    assert node.events("config_refused")
    assert not node.events("call_failed")
    assert not node.events("reconcile_failed")
    assert node.process.poll() is None


def admit_and_end(node, number):
    """A pod that comes and goes; 1 if it was admitted. A pod with a grant starts during every reload."""
    reason = ""
    try:
        uid = node.add(f"job{number}")
    except AdmissionError as error:
        reason = str(error)
    assert "PreStartContainer" not in reason
    if reason:
        return 0
    (uuid,) = node.uuids(uid)
    assert uuid in node.instances() or uuid.startswith("GPU-")
    node.kubelet.finish_pod(uid)
    return 1
