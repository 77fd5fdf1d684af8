# SPDX-License-Identifier: Apache-2.0
"""Real disks that are full or read-only, real mounts, real users, and kills and errors at real system calls."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY
from support.narrow import present
from support.waiting import until

SYNC = "import sys; from hamid.engine.library.sync import sync; sync(sys.argv[1], sys.argv[2])"
# Says that it is at the gate and waits there for a byte, so that a tracer can attach before the sync.
GATED = f"""
import os, sys
from hamid.engine.library.sync import sync
os.write(1, b"g")
os.read(0, 1)
{SYNC.rpartition("; ")[2]}
"""
PROGRAM = Path(sys.executable).with_name("hamictl")


def may_mount():
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    return (
        shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


mounts = pytest.mark.skipif(not may_mount(), reason="mounting is not allowed here")
traced = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed here")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def mounted(store):
    """A small tmpfs at the destination, seen by everybody for the length of a test."""
    store.dest.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", str(store.dest)], check=True)
    yield store.dest
    subprocess.run(["umount", "-l", str(store.dest)], check=True)


@mounts
@pytest.mark.parametrize("kind", ["python", "dash"])
def test_a_full_disk_leaves_the_old_version_whole(store, look, mounted, kind):
    """ENOSPC on a real tmpfs: the old library keeps its inode, nothing is left over, and a retry with room works."""
    script = REPOSITORY / "scripts" / "vgpu-init.sh"
    program = [sys.executable, "-c", SYNC] if kind == "python" else ["dash", script]
    code, _, err = run(*program, mounted, store.first)
    assert code == 0, err
    before = look.inodes(mounted), look.content(mounted)
    store.fill(store.second, {"big": bytes(300_000)})
    code, _, err = run(*program, mounted, store.second)
    assert code == 1, err
    assert "no space left" in err.lower()
    assert (look.inodes(mounted), look.content(mounted)) == before
    assert look.leftovers(mounted) == []
    subprocess.run(["mount", "-o", "remount,size=2m", str(mounted)], check=True)
    assert run(*program, mounted, store.second)[0] == 0


@mounts
def test_a_read_only_disk_is_an_error_only_if_something_must_change(store, look, mounted):
    """EROFS is told in words; a sync that has nothing to do succeeds."""
    assert run(sys.executable, "-c", SYNC, mounted, store.first)[0] == 0
    before = look.inodes(mounted)
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    assert run(sys.executable, "-c", SYNC, mounted, store.first)[0] == 0
    code, _, err = run(sys.executable, "-c", SYNC, mounted, store.second)
    assert code == 1
    assert "read-only file system" in err
    assert look.inodes(mounted) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
def test_another_user_is_not_permitted(store, look, hamictl):
    """EACCES is NotPermitted, exit code 4, and nothing changes."""
    store.dest.mkdir()
    store.base.chmod(0o755)
    # So that every module is loaded while we may still read them.
    hamictl.run("lib", "sync", "--dest", store.dest, "--source", store.first, "--dry-run")
    os.seteuid(65534)
    try:
        result = hamictl.run("lib", "sync", "--dest", store.dest, "--source", store.first)
    finally:
        os.seteuid(0)
    assert result.exit_code == 4, result.stderr
    assert look.content(store.dest) == {}


@mounts
def test_a_bind_mount_in_another_namespace_keeps_its_version(store, hamictl):
    """A container without any process that maps the file: only its mount namespace shows the use."""
    for source in (store.first, store.second):
        hamictl.run("lib", "sync", "--dest", store.dest, "--source", source)
    target = store.base / "target"
    target.touch()
    script = f"mount --bind '{store.dest}/libvgpu.so.v1' '{target}' && echo ready && exec sleep 60"
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, text=True) as container:
        assert present(container.stdout).readline() == "ready\n"
        words = ("--root", store.base / "root", "lib", "gc", "--keep", "0", "--dest", store.dest)
        kept = hamictl.document(*words)
        shutil.copyfile(store.dest / "libvgpu.so.v1", store.dest / "aside")
        (store.dest / "aside").rename(store.dest / "libvgpu.so.v1")
        replaced = hamictl.document(*words)
        container.kill()
    for document in (kept, replaced):
        entry = next(entry for entry in document["entries"] if entry["name"] == "libvgpu.so.v1")
        assert (entry["removed"], "mount" in entry["reason"]) == (False, True)
    assert hamictl.document(*words)["entries"][1]["removed"]


def attach(command, rules):
    """Run a gated program with strace attached from the gate on; the program's exit status."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert present(program.stdout).read(1) == b"g"
        tracer = ["strace", "-qq", "-o", "/dev/null", "-p", str(program.pid), *rules]
        with subprocess.Popen(tracer, stderr=subprocess.DEVNULL) as strace:
            until(lambda: strace.poll() is not None or is_traced(program.pid))
            if strace.poll():
                program.kill()
                pytest.skip("tracing is not allowed here")
            program.communicate(b"g", timeout=30)
            strace.wait(30)
    return program.returncode


def is_traced(pid):
    """Whether a tracer has attached to the process."""
    return re.search(r"TracerPid:\t[1-9]", Path(f"/proc/{pid}/status").read_text()) is not None


def whole(found, *allowed):
    """No file is anything but one of its allowed selves."""
    for name, data in found.items():
        if data is not None and ".hami-tmp." not in name:
            assert data in [each.get(name) for each in allowed], name


def walk_through(store, look, inject, numbers):
    """Break an upgrade at each of these system calls; yields after each break, with the exit status."""
    assert run(sys.executable, "-c", SYNC, store.dest, store.first)[0] == 0
    old, saved = look.content(store.dest), store.base / "saved"
    shutil.copytree(store.dest, saved, symlinks=True)
    assert run(sys.executable, "-c", SYNC, store.dest, store.second)[0] == 0
    new = look.content(store.dest)
    for number in numbers:
        shutil.rmtree(store.dest)
        shutil.copytree(saved, store.dest, symlinks=True)
        command = [sys.executable, "-c", GATED, str(store.dest), str(store.second)]
        code = attach(command, ["-e", f"{inject}:when={number}"])
        yield number, code, old, new
        if code == 0:
            return


def kill_at(store, look, numbers):
    for number, _, old, new in walk_through(store, look, "inject=all:signal=KILL", numbers):
        whole(look.content(store.dest), old, new)
        code, _, err = run(sys.executable, "-c", SYNC, store.dest, store.second)
        assert code == 0, f"call {number}: {err}"
        assert look.content(store.dest) == new
        assert look.leftovers(store.dest) == []


@traced
def test_a_kill_at_real_system_calls_is_completed_by_the_next_sync(store, look):
    """The kernel kills at every seventh call that it really sees; files are whole, and the next sync completes."""
    kill_at(store, look, range(1, 1000, 7))


@traced
@pytest.mark.full
def test_a_kill_at_every_real_system_call_is_completed_by_the_next_sync(store, look):
    """As above at every single call."""
    kill_at(store, look, range(1, 2000))


@traced
@pytest.mark.parametrize("fault", ["fsync:error=EIO", "write:error=ENOSPC", "rename,renameat,renameat2:error=EIO"])
def test_an_error_of_the_kernel_leaves_the_old_state(store, look, fault):
    """The first, second, third .. of these calls fails: nothing is replaced, nothing is left over."""
    for number, code, old, new in walk_through(store, look, f"inject={fault}", range(1, 30)):
        assert look.content(store.dest) == (new if code == 0 else old), f"{fault} number {number}"
        assert look.leftovers(store.dest) == []
