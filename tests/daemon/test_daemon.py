# SPDX-License-Identifier: Apache-2.0
"""hamid as a process: it starts, serves, reloads, restarts and ends."""

import itertools
import json
import os
import signal
import socket
import subprocess

import pytest
from support.waiting import LIMIT_SECONDS, until

from hamid.node.simulation import control
from hamid.testing.kubelet import AdmissionError


def waiting(name, memory):
    """A pod of a list, which has not got its device yet."""
    limits = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": str(memory)}
    container = {"name": "main", "resources": {"limits": limits}}
    return {"metadata": {"uid": name, "name": name}, "spec": {"containers": [container]}}


def test_a_pod_gets_an_instance_that_did_not_exist_and_gives_it_back(hamid):
    """The main job: cut at Allocate, held while the pod lives, gone when it is over."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    assert node.instances() == {}
    uid = node.add("job", memory=8000, count=2)
    assert len(node.uuids(uid)) == 2
    assert set(node.uuids(uid)) == set(node.instances())
    assert {each.profile for each in node.instances().values()} == {"2g.10gb"}
    until(lambda: all(claim.owner.confirmed for claim in node.facts().claims))
    node.kubelet.finish_pod(uid)
    until(lambda: node.instances() == {})
    until(lambda: node.facts().claims == ())
    assert node.stop() == 0


def test_a_restart_keeps_what_was_granted(hamid):
    """Ended or killed, hamid comes back to the same claims and instances, and serves again within seconds."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    uid = node.add("job")
    before = node.uuids(uid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        node.stop(number)
        node.start()
        node.kubelet.wait_for(19)
        assert sorted(node.instances()) == sorted(before)
        assert node.kubelet.restart_container(uid, "main")["NVIDIA_VISIBLE_DEVICES"] == ",".join(before)
    node.add("next")
    assert len(node.instances()) == 2


def test_kubelet_comes_and_goes(hamid):
    """Absent at first, restarted with its folder wiped, without our socket: hamid is registered again each time."""
    node = hamid(kubelet=False).start()
    until(lambda: node.events("not_registered"))
    assert node.get("/readyz")[0] == 503
    assert node.get("/livez") == (200, "ok\n")
    node.kubelet.start()
    node.kubelet.wait_for(20)
    until(lambda: node.get("/readyz") == (200, "ok\n"))
    node.kubelet.restart()
    node.kubelet.wait_for(20)
    ended = node.kubelet.streams_ended
    (node.kubelet.folder / "hami-gpu.sock").unlink()
    # Kubelet disconnects its present plugin when it sees the end of the old stream, even late.
    until(lambda: node.kubelet.streams_ended > ended and node.kubelet.registrations >= 3)
    node.kubelet.wait_for(20)
    assert node.add("job")


def test_a_second_hamid_is_refused_with_the_first_ones_pid(hamid):
    """Two masters of one node would undo each other's work."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    for words in ((), ("--once",)):
        other = node.run(*words)
        assert other.returncode == 7
        assert str(node.process.pid) in other.stderr


def test_once_does_what_is_due_without_a_kubelet(hamid):
    """Modes are set, nothing is served, exit code 0."""
    node = hamid(kubelet=False)
    found = node.run("--once")
    assert found.returncode == 0, found.stderr
    assert '"gpus": 2' in found.stderr
    assert node.run("--once").returncode == 0


def test_a_simulated_driver_is_never_slipped_under_a_real_node(hamid):
    """Variables of the simulator without --sim are refused."""
    node = hamid(kubelet=False)
    words = [each for each in node.command("--root", str(node.root)) if each not in {"--sim", str(node.state)}]
    found = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert found.returncode == 2
    assert "HAMI_SIM_STATE" in found.stderr


def test_a_bad_configuration_ends_hamid_before_it_starts(hamid):
    """With file, line and key on stderr and exit code 2; --check-config says the same."""
    node = hamid(kubelet=False)
    assert node.run("--check-config").returncode == 0
    node.configure(mode="fast")
    for words in ((), ("--check-config",)):
        found = node.run(*words)
        assert found.returncode == 2
        assert "hamid.yaml" in found.stderr
        assert "mode" in found.stderr


def test_a_reload_changes_what_can_change_and_a_bad_file_changes_nothing(hamid):
    """By SIGHUP and by the file alone; the older values hold while the files cannot be used."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    node.configure(split_count=3)
    node.process.send_signal(signal.SIGHUP)
    until(lambda: len(node.kubelet.healthy) == 6)
    node.configure(split_count=0)
    until(lambda: node.events("config_refused"))
    assert "split_count" in node.get("/readyz?verbose")[1]
    assert "hamid_config_problem 1.0" in node.get("/metrics")[1]
    node.configure(split_count=5, hook_path="/opt")
    until(lambda: len(node.kubelet.healthy) == 10)
    assert "hook_path changed; restart hamid" in node.get("/readyz?verbose")[1]


def test_a_device_that_a_pod_holds_stays_advertised(hamid):
    """Fewer parts per GPU withdraw the free ones; a held one goes when it is free."""
    node = hamid("1xA30").start()
    node.kubelet.wait_for(10)
    uids = [node.add(f"job{number}") for number in range(2)]
    held = {each for uid in uids for each in node.kubelet.device_ids(uid, "main")}
    node.configure(split_count=1)
    until(lambda: len(node.kubelet.healthy) <= 3)
    assert held <= node.kubelet.healthy
    for uid in uids:
        node.kubelet.finish_pod(uid)
    until(lambda: len(node.kubelet.healthy) == 1)


@pytest.mark.parametrize(("code", "word"), [(9, "not loaded"), (18, "different versions")])
def test_a_driver_that_comes_late_is_waited_for(hamid, code, word):
    """Ready for systemd at once, not ready for Kubernetes until the driver answers; a mismatch of versions too."""
    node = hamid()
    control.add_fault(f"nvmlInit*=error:{code}", state=str(node.state))
    node.start()
    until(lambda: node.events("node_waits"))
    status, text = node.get("/readyz")
    assert status == 503
    assert word in text
    control.clear_faults(state=str(node.state))
    node.kubelet.wait_for(20)
    until(lambda: node.get("/readyz")[0] == 200)


def test_a_busy_port_is_a_problem_and_no_end(hamid):
    """Everything else goes on, and /readyz elsewhere would say so."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        node = hamid()
        node.configure(metrics_address=f"127.0.0.1:{other.getsockname()[1]}")
        node.start()
        node.kubelet.wait_for(20)
        until(lambda: node.events("metrics_not_served"))
        assert node.add("job")


def test_two_that_ask_for_different_things_are_not_guessed(hamid, tmp_path):
    """Allocate fails with what each of them asks; the node stays as it is."""
    node = hamid()
    pods = tmp_path / "pods.json"
    node.configure(pods_file=str(pods))
    pods.write_text(json.dumps([waiting("small", 4000), waiting("large", 9000)]))
    node.start()
    node.kubelet.wait_for(20)
    with pytest.raises(AdmissionError, match="request different things"):
        node.add("job")
    assert node.instances() == {}
    pods.write_text(json.dumps([waiting("large", 9000)]))
    node.add("job")
    assert [each.profile for each in node.instances().values()] == ["2g.10gb"]


def test_the_manager_is_told(hamid, tmp_path):
    """READY with a status, a sign of life, RELOADING and READY, STOPPING."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(LIMIT_SECONDS)
        node = hamid().start(NOTIFY_SOCKET=address, WATCHDOG_USEC="30000000")
        said: list[str] = []

        def heard(word):
            while not any(word in each for each in said):
                said.append(manager.recv(4096).decode())
            said.clear()
            return True

        assert heard("READY=1")
        assert heard("WATCHDOG=1")
        assert heard("20 devices offered")
        node.process.send_signal(signal.SIGHUP)
        assert heard("RELOADING=1")
        assert heard("READY=1")
        node.process.send_signal(signal.SIGTERM)
        assert heard("STOPPING=1")
        assert node.process.wait(LIMIT_SECONDS) == 0


def test_its_end_takes_its_socket_with_it(hamid):
    """Kubelet finds no socket of a daemon that has stopped."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    assert node.stop() == 0
    assert not os.path.lexists(node.kubelet.folder / "hami-gpu.sock")


def test_metrics_are_hamis_and_ours(hamid):
    """The worked example's series, by HAMi's old and new names."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    node.add("job", memory=20000)
    text = node.get("/metrics")[1]
    assert 'migname="3g.20gb-0",nodeid=' in text.replace(", ", ",")
    assert 'zone="vGPU"} 1.0' in text
    assert 'hami_node_gpu_mig_instance_info{compute_instance_id="0"' in text
    assert 'hamid_allocate_total{mode="mig",result="granted"} 1.0' in text
    assert node.get("/nothing")[0] == 404


def figure_of_gpu(node, name, number):
    """The value of a metric for the GPU of that index; None where there is none."""
    lines = [line for line in node.get("/metrics")[1].splitlines() if line.startswith(f"{name}{{")]
    told = [line for line in lines if f'device_index="{number}"' in line or f'deviceidx="{number}"' in line]
    return float(told[0].rpartition(" ")[2]) if told else None


def test_metrics_tell_how_busy_whole_gpus_are(hamid):
    """Usage is NVML's, for every process; a figure that NVML does not tell in MIG mode has no series."""
    node = hamid()
    node.configure(gpu_modes={"1": "hami-core"})
    node.start()
    node.kubelet.wait_for(20)
    assert figure_of_gpu(node, "hami_host_gpu_memory_used_bytes", 1) < 1 << 30
    control.add_process(node.gpus()[1].uuid, os.getpid(), 5000, state=node.state)
    for name in ("hami_host_gpu_memory_used_bytes", "HostGPUMemoryUsage"):
        until(lambda name=name: figure_of_gpu(node, name, 1) >= 5000 << 20)
    assert figure_of_gpu(node, "hami_host_gpu_memory_used_bytes", 0) < 1 << 30
    assert figure_of_gpu(node, "hami_host_gpu_utilization_ratio", 1) > 0
    assert figure_of_gpu(node, "hami_host_gpu_utilization_ratio", 0) is None


def test_seven_neighbours_fifty_exits_and_a_refill(hamid):
    """An eighth is refused; fifty exits and a neighbour's end change no UUID; the free placement is granted again."""
    node = hamid("1xA100-SXM4-40GB").start()
    node.kubelet.wait_for(10)
    uids = [node.add(f"p{number}") for number in range(7)]
    before = {uid: node.uuids(uid) for uid in uids}
    with pytest.raises(AdmissionError):
        node.add("eighth")
    for _ in range(50):
        assert node.kubelet.restart_container(uids[0], "main")["NVIDIA_VISIBLE_DEVICES"] == ",".join(before[uids[0]])
    node.kubelet.finish_pod(uids.pop(3))
    until(lambda: set(node.instances()) == {each for uid in uids for each in before[uid]})
    uids.append(node.add("refill"))
    assert len(node.instances()) == 7
    assert {uid: node.uuids(uid) for uid in uids[:-1]} == {uid: before[uid] for uid in uids[:-1]}


def fill(node, turn, sizes, held):
    """Adds pods of these sizes in turn until each was refused in a row; `held` learns of each that was not."""
    refused = 0
    for number, size in enumerate(itertools.cycle(sizes)):
        try:
            uid = node.add(f"p{turn}-{number}", memory=size)
        except AdmissionError:
            refused += 1
            if refused == len(sizes):
                return
        else:
            refused = 0
            held[uid] = size


def settle(node, held):
    """The node has the instances of these pods and nothing else, each big enough for what was asked."""
    given = {uid: node.uuids(uid) for uid in held}
    uuids = [each for uuids in given.values() for each in uuids]
    assert len(set(uuids)) == len(uuids)
    # A claim leaves the ledger after its instances are gone.
    until(lambda: set(node.instances()) == set(uuids) and len(node.facts().claims) == len(held))
    there = node.instances()
    assert all(there[each].memory_mib >= size for uid, size in held.items() for each in given[uid])
    return given


@pytest.mark.parametrize("spec", ["2xA100-SXM4-40GB,1xA30", "1xH100 80GB HBM3"])
def test_mixed_sizes_to_saturation_and_refill(hamid, spec):
    """Pods of mixed sizes fill the node; every other one is replaced; those that stay keep their UUIDs throughout.

    Between the rounds hamid is killed, restarted, and kubelet is.
    """
    node = hamid(spec).start()
    node.kubelet.wait_for(10)
    held: dict[str, str] = {}
    kept: dict[str, str] = {}
    for turn, sizes in enumerate(((4000, 17000, 9000, 4900), (11000, 4000), (19000, 5000, 4000))):
        fill(node, turn, sizes, held)
        given = settle(node, held)
        assert {uid: given[uid] for uid in kept} == kept
        assert len(held) > len(kept)
        if turn == 0:
            node.stop(signal.SIGKILL)
            node.start()
        elif turn == 1:
            node.kubelet.restart()
        until(lambda: node.kubelet.healthy)
        for uid in list(held)[::2]:
            node.kubelet.finish_pod(uid)
            del held[uid]
        kept = settle(node, held)
