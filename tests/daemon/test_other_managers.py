# SPDX-License-Identifier: Apache-2.0
"""hamid beside sick GPUs and other masters of the node."""

import signal

from support.waiting import until

from hamid.engine.driver.observe import observe
from hamid.engine.other_managers import OtherManagers
from hamid.node.paths import Paths
from hamid.node.simulation import control


def test_a_sick_gpu_is_offered_no_more_and_comes_back(hamid):
    """A critical Xid withdraws that GPU alone, an application's does not; quiet for long enough it serves again."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    first, second = (gpu.uuid for gpu in observe(node.paths).gpus)
    control.post_xid(second, 13, state=str(node.state))
    until(lambda: node.events("health_event"))
    assert len(node.kubelet.healthy) == 20
    control.post_xid(first, 79, state=str(node.state))
    until(lambda: len(node.kubelet.healthy) == 10)
    assert all(each.startswith(second) for each in node.kubelet.healthy)
    assert "Xid 79" in node.get("/readyz?verbose")[1]
    assert node.add("job")
    node.configure(health_recovery_seconds=0.1)
    node.process.send_signal(signal.SIGHUP)
    until(lambda: len(node.kubelet.healthy) == 20)
    until(lambda: [each["gpu"] for each in node.events("gpu_recovered")] == [first])


def test_another_plugin_of_the_same_gpus_is_left_alone(hamid):
    """While it answers, hamid changes nothing and does not register; it takes over when the other one is gone."""
    other, node = hamid("1xA30"), hamid("1xA30", kubelet=False)
    other.configure(resources={"count": "acme.com/other"})
    other.start()
    until(lambda: other.events("registered"))
    node.kubelet = other.kubelet
    node.start()
    until(lambda: node.events("node_waits"))
    assert "another device plugin" in node.get("/readyz")[1]
    assert not any(gpu.mig_enabled for gpu in observe(Paths(str(node.root))).gpus)
    assert other.kubelet.registrations == 0
    other.stop()
    other.kubelet.wait_for(10)


def test_a_takeover_serves_beside_another_master(hamid):
    """The operator's word counts more than what was found."""
    other, node = hamid("1xA30"), hamid("1xA30", kubelet=False)
    other.configure(resources={"count": "acme.com/other"})
    other.start()
    until(lambda: other.events("registered"))
    node.kubelet = other.kubelet
    node.start("--takeover")
    other.kubelet.wait_for(10)


def test_a_mig_manager_and_what_only_looks_like_a_master(tmp_path):
    """Found by the name of its process; a dead socket, our own socket and other processes do not count."""
    for pid, name in (("1", "systemd"), ("77", "nvidia-mig-mana")):
        (tmp_path / "proc" / pid).mkdir(parents=True)
        (tmp_path / "proc" / pid / "comm").write_text(f"{name}\n")
    kubelet = tmp_path / "kubelet"
    for name in (
        "device-plugins/nvidia-gpu.sock",
        "device-plugins/hami-gpu.sock",
        "plugins_registry/gpu.nvidia.com-reg.sock",
    ):
        (kubelet / name).parent.mkdir(parents=True, exist_ok=True)
        (kubelet / name).touch()
    masters = OtherManagers(Paths(str(tmp_path)), str(kubelet), "hami-gpu.sock", takeover=False)
    assert masters.reason() == "process 77 (nvidia-mig-mana) changes MIG layouts on this node"
    (tmp_path / "proc/77/comm").write_text("python3\n")
    assert masters.reason() == ""
