# SPDX-License-Identifier: Apache-2.0
"""What a collection removes, and everything that keeps a version or a container's directory."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.narrow import present

CHECKPOINT = "var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"


@pytest.fixture
def node(store, hamictl):
    """Versions v1 and v2 installed, v2 current; `gc()` gives name -> entry of a collection that keeps none more."""
    for source in (store.first, store.second):
        assert hamictl.run("lib", "sync", "--dest", store.dest, "--source", source).exit_code == 0
    store.root = store.base / "root"

    def collect(*words):
        command = ("--root", store.root, "lib", "gc", "--keep", "0", "--dest", store.dest, *words)
        return {entry["name"]: entry for entry in hamictl.document(*command)["entries"]}

    store.collect = collect
    return store


def checkpoint(node, answers):
    """A kubelet's checkpoint with one entry per (pod, bytes of the answer)."""
    entries = [
        {
            "PodUID": pod,
            "ContainerName": "main",
            "ResourceName": "nvidia.com/gpu",
            "DeviceIDs": {"-1": ["GPU-1-0"]},
            "AllocResp": base64.b64encode(answer).decode(),
        }
        for pod, answer in answers
    ]
    document = {"Data": {"PodDeviceEntries": entries or None, "RegisteredDevices": {}}, "Checksum": 1}
    node.fill(node.root, {CHECKPOINT: json.dumps(document)})


def mount(node, name):
    """A ContainerAllocateResponse with one mount, in protobuf's encoding."""
    inside, host = b"/usr/local/vgpu/libvgpu.so", f"{node.dest}/{name}".encode()
    entry = b"\x0a" + bytes([len(inside)]) + inside + b"\x12" + bytes([len(host)]) + host + b"\x18\x01"
    return b"\x12" + bytes([len(entry)]) + entry


def test_what_nobody_uses_goes_and_the_current_stays(node, hamictl):
    """The file and its entry in the manifest go; the store verifies."""
    found = node.collect()
    assert (found["libvgpu.so.v1"]["removed"], found["libvgpu.so.v2"]["reason"]) == (True, "current")
    assert not (node.dest / "libvgpu.so.v1").exists()
    assert (node.dest / "libvgpu.so").exists()
    assert hamictl.run("lib", "verify", "--dest", node.dest).exit_code == 0


def test_a_dry_run_removes_nothing(node, look):
    """It says what would go."""
    before = look.content(node.dest)
    assert node.collect("--dry-run")["libvgpu.so.v1"]["removed"]
    assert look.content(node.dest) == before


def test_keep_counts_the_newest(node, hamictl):
    """The default keeps the one before the current, too."""
    document = hamictl.document("--root", node.root, "lib", "gc", "--dest", node.dest)
    assert [entry["removed"] for entry in document["entries"]] == [False, False]


def test_a_process_that_maps_the_file_keeps_it(node):
    """Also when the file was replaced since, and the process maps what is deleted."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(node.dest / "libvgpu.so.v1")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert present(process.stdout).readline() == "ready\n"
        reason = node.collect()["libvgpu.so.v1"]["reason"]
        data = (node.dest / "libvgpu.so.v1").read_bytes()
        (node.dest / "libvgpu.so.v1").unlink()
        (node.dest / "libvgpu.so.v1").write_bytes(data)
        again = node.collect()["libvgpu.so.v1"]["reason"]
        present(process.stdin).close()
    assert f"({process.pid})" in reason
    assert f"({process.pid})" in again
    assert node.collect()["libvgpu.so.v1"]["removed"]


def test_a_process_that_maps_it_by_another_name_keeps_it(node):
    """In a container the file has the unversioned name; the inode tells."""
    os.link(node.dest / "libvgpu.so.v1", node.base / "libvgpu.so")
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(node.base / "libvgpu.so")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert present(process.stdout).readline() == "ready\n"
        assert f"({process.pid})" in node.collect()["libvgpu.so.v1"]["reason"]
        present(process.stdin).close()


def test_a_pod_between_two_restarts_keeps_its_version(node):
    """No process and no mount, but kubelet's cached answer names the file."""
    checkpoint(node, [("pod-1", mount(node, "libvgpu.so.v1"))])
    assert node.collect()["libvgpu.so.v1"]["reason"] == "pod pod-1/main"
    checkpoint(node, [("pod-1", mount(node, "libvgpu.so.v10"))])
    assert node.collect()["libvgpu.so.v1"]["removed"]


@pytest.mark.parametrize("text", ["", "{", "{}", '{"Data": {}}', '{"Data": {"PodDeviceEntries": [{"PodUID": "x"}]}}'])
def test_a_checkpoint_that_is_not_understood_keeps_everything(node, text):
    """Half of a file, or another version's, might name any library."""
    node.fill(node.root, {CHECKPOINT: text})
    assert "unreadable" in node.collect()["libvgpu.so.v1"]["reason"]


def test_a_ledger_that_cannot_be_trusted_keeps_everything(node):
    """This version cannot read claims, so each might name any library."""
    node.fill(node.root, {"var/lib/hami/ledger.db": "SQLite"})
    assert "ledger" in node.collect()["libvgpu.so.v1"]["reason"]


@pytest.mark.parametrize(
    "record",
    [
        "var/lib/docker/containers/abc/hostconfig.json",
        "var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
        "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/config.json",
        "var/lib/containers/storage/overlay-containers/abc/userdata/config.json",
    ],
)
def test_a_stopped_container_keeps_its_version(node, record):
    """Runtimes write down containers that exist; one that is stopped will start again with the same mount."""
    node.fill(node.root, {record: b"\0\xff" + b"x" * 5_000_000 + f'"{node.dest}/libvgpu.so.v1"'.encode() + b"\xfe"})
    assert node.collect()["libvgpu.so.v1"]["reason"].startswith("container ")


def test_a_record_that_cannot_be_read_keeps_everything(node):
    """A directory in the place of a file cannot be read, not even by root."""
    (node.root / "var/lib/docker/containers/abc/hostconfig.json").mkdir(parents=True)
    assert "unreadable" in node.collect()["libvgpu.so.v1"]["reason"]


def test_a_pin_keeps_its_version_and_a_lost_manifest_keeps_all(node, hamictl):
    """The pinned version is current; a manifest that cannot be read might hold a pin, so nothing is collected."""
    hamictl.run("lib", "rollback", "v1", "--dest", node.dest)
    found = node.collect()
    assert (found["libvgpu.so.v1"]["removed"], found["libvgpu.so.v2"]["removed"]) == (False, True)
    (node.dest / ".hami/manifest.json").write_text("{")
    result = hamictl.run("--root", node.root, "lib", "gc", "--dest", node.dest)
    assert result.exit_code == 7


def folders(node, *names, age=3600):
    for name in names:
        path = node.dest / "containers" / name
        (path / "x/y").mkdir(parents=True)
        (path / "link").symlink_to("/etc")
        (path / "a.cache").write_bytes(bytes(4096))
        path.chmod(0o777)
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))


def test_only_directories_of_pods_that_are_gone_go(node):
    """A pod's directory at kubelet or its cached answer keeps its containers; so do youth and a name without a pod."""
    folders(node, "gone_main", "alive_main", "cached_main", "noname")
    folders(node, "young_main", age=0)
    (node.root / "var/lib/kubelet/pods/alive").mkdir(parents=True)
    checkpoint(node, [("cached", b"")])
    found = node.collect()
    removed = {name for name, entry in found.items() if entry["removed"]}
    assert removed == {"gone_main", "libvgpu.so.v1"}
    assert sorted(path.name for path in (node.dest / "containers").iterdir()) == [
        "alive_main",
        "cached_main",
        "noname",
        "young_main",
    ]
    assert Path("/etc").is_dir()


def test_a_directory_stays_when_a_source_cannot_be_read(node):
    """A checkpoint that is not understood may name the pod, so no directory is removed."""
    folders(node, "gone_main")
    (node.root / "var/lib/kubelet/pods").mkdir(parents=True)
    assert node.collect("--dry-run")["gone_main"]["removed"]
    node.fill(node.root, {CHECKPOINT: "{"})
    assert not node.collect()["gone_main"]["removed"]
    assert (node.dest / "containers/gone_main").is_dir()


def test_without_a_kubelet_no_directory_goes(node):
    """Without a kubelet it is unknown whether a pod is gone."""
    folders(node, "gone_main")
    assert not node.collect()["gone_main"]["removed"]


def test_a_directory_that_a_process_maps_stays(node):
    """A shared region in use keeps its directory, even if kubelet lists no pod."""
    folders(node, "gone_main")
    (node.root / "var/lib/kubelet/pods").mkdir(parents=True)
    code = (
        "import mmap, sys; f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(node.dest / "containers/gone_main/a.cache")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert present(process.stdout).readline() == "ready\n"
        assert not node.collect()["gone_main"]["removed"]
        present(process.stdin).close()
    assert node.collect()["gone_main"]["removed"]


def test_a_directory_of_any_depth_goes(node):
    """Containers can write there; thousands of nested directories do not stop the removal."""
    folders(node, "gone_main")
    (node.root / "var/lib/kubelet/pods").mkdir(parents=True)
    here = os.open(node.dest / "containers/gone_main", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    os.utime(node.dest / "containers/gone_main", (1, 1))
    assert node.collect()["gone_main"]["removed"]
    assert list((node.dest / "containers").iterdir()) == []
