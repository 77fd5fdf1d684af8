# SPDX-License-Identifier: Apache-2.0
"""The device plugin registers again after every change of the directory that it shares with kubelet."""

import shutil
import socket

import pytest
from support.waiting import until

from hamid.testing.kubelet import ContainerSpec, Kubelet, PodSpec

ONE = {"nvidia.com/gpu": "1"}


def pod(name="job", **options):
    return PodSpec(name=name, containers=[ContainerSpec(limits=ONE, **options)])


def test_first_list_comes(kubelet, plain, serve):
    """A plugin that starts registers and lists its devices."""
    serve(plain)
    kubelet.wait_for(14)


@pytest.mark.parametrize("old", [False, True])
def test_kubelet_restart_wipes_the_folder(place, plain, serve, old):
    """After a restart of either kind of kubelet the devices are back, and pods are admitted again."""
    with Kubelet(place, old=old) as kubelet:
        running = serve(plain)
        kubelet.wait_for(14)
        first = kubelet.add_pod(pod("first"))
        kubelet.restart()
        kubelet.wait_for(14)
        kubelet.add_pod(pod("second"))
        assert kubelet.restart_container(first, "main")["NVIDIA_VISIBLE_DEVICES"].startswith("GPU-0-")
        running.stop()


@pytest.mark.parametrize("old", [False, True])
def test_our_socket_deleted(place, plain, serve, old):
    """A removed socket is served again and registered, and the new stream carries later changes."""
    with Kubelet(place, old=old) as kubelet:
        running = serve(plain)
        kubelet.wait_for(14)
        (kubelet.folder / "hami-gpu.sock").unlink()
        # Kubelet disconnects its present plugin when it sees the end of the old stream, even late.
        until(lambda: kubelet.streams_ended and kubelet.registrations >= 2)
        kubelet.wait_for(14)
        registrations = kubelet.registrations
        plain.listed = plain.listed[:7]
        running.plugin.changed()
        until(lambda: len(kubelet.healthy) == 7)
        assert kubelet.registrations == registrations
        until(lambda: running.plugin.state.registered)
        kubelet.add_pod(pod())
        running.stop()


def test_folder_recreated(kubelet, plain, serve):
    """A removed folder is a state that the plugin waits in; with a new one it is back."""
    running = serve(plain)
    kubelet.wait_for(14)
    kubelet.stop()
    shutil.rmtree(kubelet.folder)
    until(lambda: "does not exist" in running.plugin.state.problem)
    kubelet.start()
    kubelet.wait_for(14)


def test_kubelet_comes_late(place, plain, serve):
    """Without a kubelet the plugin says what it waits for, and registers when one comes."""
    running = serve(plain)
    until(lambda: running.plugin.state.problem)
    assert not running.plugin.state.registered
    with Kubelet(place) as kubelet:
        kubelet.wait_for(14)
        running.stop()


def test_dropped_stream_is_mended(kubelet, plain, serve):
    """When kubelet drops the stream and keeps its socket, the plugin registers again by itself."""
    serve(plain)
    kubelet.wait_for(14)
    kubelet._disconnect()
    until(lambda: kubelet.registrations == 2)
    kubelet.wait_for(14)


def test_answering_socket_is_never_removed(kubelet, plain, serve):
    """Another program's server under hamid's name stays and is named as a conflict; a stale socket is replaced."""
    path = str(kubelet.folder / "hami-gpu.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        other.settimeout(60)
        running = serve(plain)
        until(lambda: "another process answers" in running.plugin.state.problem)
        inode = (kubelet.folder / "hami-gpu.sock").stat().st_ino
        for _ in range(3):  # each connection is one more try to take the name
            other.accept()[0].close()
        assert (kubelet.folder / "hami-gpu.sock").stat().st_ino == inode
    kubelet.wait_for(14)


def test_gate_keeps_us_from_registering(kubelet, plain, serve):
    """While the gate gives a reason nothing is registered and the reason is the state's problem."""
    reasons = ["another plugin answers for nvidia.com/gpu"]
    running = serve(plain, gate=lambda: reasons[0])
    until(lambda: running.plugin.state.problem == reasons[0])
    assert kubelet.registrations == 0
    reasons[0] = ""
    kubelet.wait_for(14)


def test_change_of_devices_travels(kubelet, plain, serve):
    """A change of the list reaches kubelet when it is announced."""
    running = serve(plain)
    kubelet.wait_for(14)
    plain.listed = plain.listed[:7]
    running.plugin.changed()
    until(lambda: len(kubelet.healthy) == 7)


def test_drain_removes_socket(kubelet, plain, serve):
    """A stopped plugin closes its streams and takes its socket with it."""
    running = serve(plain)
    kubelet.wait_for(14)
    running.stop()
    assert not list(kubelet.folder.glob("*hami*"))
    until(lambda: not kubelet.healthy)
