# SPDX-License-Identifier: Apache-2.0
"""hamictl lib beyond the shared contract: documents, the stat-cache, rollback, verify, locks, changing sources."""

import fcntl
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
from support import REPOSITORY
from support.waiting import inside, until

from hamid.core.errors import LibraryBusy, LibraryFailed, LibraryMissing
from hamid.engine.library.state import container_library
from hamid.engine.library.sync import sync
from hamid.engine.library.verify import verify
from hamid.node.files.tree import REAL, Calls
from hamid.node.library.lock import Lock
from hamid.node.library.stat_cache import is_settled
from hamid.testing.file_steps import CountingCalls

SCHEMAS = REPOSITORY / "docs" / "json"


def test_every_document_is_what_its_schema_promises(store, hamictl):
    """Sync, status, verification and collection, before and after an installation."""
    dest = ("--dest", store.dest)
    words = [
        (("lib", "status", *dest), 0),
        (("lib", "verify", *dest), 3),
        (("lib", "sync", *dest, "--source", store.first, "--dry-run"), 0),
        (("lib", "sync", *dest, "--source", store.first), 0),
        (("lib", "sync", *dest, "--source", store.second), 0),
        (("lib", "rollback", "v1", *dest), 0),
        (("lib", "status", *dest), 0),
        (("lib", "verify", *dest), 0),
        (("--root", store.base / "root", "lib", "gc", *dest), 0),
        (("lib", "sync", *dest, "--source", store.base / "nowhere"), 2),
    ]
    for each, code in words:
        document = hamictl.document(*each, code=code)
        jsonschema.validate(document, json.loads((SCHEMAS / f"{document['kind']}.schema.json").read_text()))


def test_a_dry_run_says_what_would_be_done_and_does_nothing(store, hamictl):
    """Not even the destination is made."""
    result = hamictl.run("lib", "sync", "--dest", store.dest, "--source", store.first, "--dry-run")
    assert f"Would copy: {store.first}/license -> {store.dest}/license" in result.stdout
    assert not store.dest.exists()


def test_the_root_moves_the_store(store, hamictl):
    """Under --root the library directory is ROOT/usr/local/vgpu, and the preload line names it."""
    base = store.base / "node"
    assert hamictl.run("--root", base, "lib", "sync", "--source", store.first).exit_code == 0
    expected = f"{base}/usr/local/vgpu/libvgpu.so\n"
    assert (base / "usr/local/vgpu/ld.so.preload").read_text() == expected


def test_our_own_build_is_said_to_be_empty(store, hamictl):
    """Without --source and without a built library nothing happens, in so many words."""
    result = hamictl.run("lib", "sync", "--dest", store.dest)
    if "Copied" in result.stdout:
        pytest.skip("this build carries a library")
    assert (result.exit_code, result.stdout.startswith("Nothing to install")) == (0, True)


def test_the_second_run_reads_no_content_and_writes_nothing(store):
    """The stat-cache answers: the calls to the system that read or change files are those of the store's own notes."""
    sync(str(store.dest), str(store.first))
    calls, full = CountingCalls(), CountingCalls()
    before = sorted((str(p), p.lstat().st_mtime_ns, p.lstat().st_ino) for p in store.dest.rglob("*"))
    sync(str(store.dest), str(store.first), calls=calls)
    assert sorted((str(p), p.lstat().st_mtime_ns, p.lstat().st_ino) for p in store.dest.rglob("*")) == before
    assert "readv" not in calls.names
    assert not {"write", "rename", "fsync", "unlink", "mkdir"} & set(calls.names)
    sync(str(store.dest), str(store.first), calls=full, full=True)
    assert full.names.count("readv") >= 8


def test_a_change_that_keeps_size_and_times_is_seen(store, libraries):
    """A file written in place right after the sync, its mtime set back, is repaired: ctime cannot be set back."""
    sync(str(store.dest), str(store.first))
    path = store.dest / "libvgpu.so.v1"
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(libraries.one[:-1] + b"!")
    os.utime(path, ns=times)
    sync(str(store.dest), str(store.first))
    assert path.read_bytes() == libraries.one


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda d: (d / "license").write_text("FIRST"), "content"),
        (lambda d: (d / "tools/deep/validator").unlink(), "missing"),
        (lambda d: (d / "license").chmod(0o600), "mode"),
        (lambda d: (d / "libvgpu.so").chmod(0o666), "owner"),
        (lambda d: (d / "ld.so.preload").write_text("/elsewhere\n"), "preload"),
        (lambda d: (d / "libvgpu.so.v9").write_text("planted"), "unknown"),
        (lambda d: (d / "license").unlink() or (d / "license").symlink_to("/etc/hostname"), "kind"),
        (lambda d: (d / ".hami/manifest.json").write_text("{"), "manifest"),
        (lambda d: (d / ".hami-tmp.x").write_text("half"), "left-over"),
    ],
)
def test_verify_finds_what_was_changed(store, hamictl, damage, code):
    """Exit code 3 and a line that names it; the next sync repairs everything but a foreign file."""
    sync(str(store.dest), str(store.first))
    assert verify(str(store.dest)) == ()
    damage(store.dest)
    assert [drift.code for drift in verify(str(store.dest))] == [code]
    assert hamictl.run("lib", "verify", "--dest", store.dest).exit_code == 3
    sync(str(store.dest), str(store.first))
    assert [drift.code for drift in verify(str(store.dest))] == (["unknown"] if code == "unknown" else [])


def test_a_rollback_is_a_pin_until_it_is_lifted(store, hamictl, libraries):
    """Containers get the pinned version, later syncs install beside it, and --unpin gives the word back to the sync."""
    dest = ("--dest", store.dest)
    for source in (store.first, store.second):
        hamictl.run("lib", "sync", *dest, "--source", source)
    assert container_library(str(store.dest)).endswith("libvgpu.so.v2")
    assert hamictl.run("lib", "rollback", "v1", *dest).exit_code == 0
    assert container_library(str(store.dest)).endswith("libvgpu.so.v1")
    assert (store.dest / "libvgpu.so").read_bytes() == libraries.one
    assert hamictl.run("lib", "sync", *dest, "--source", store.second).exit_code == 0
    assert (store.dest / "libvgpu.so").read_bytes() == libraries.one
    assert hamictl.run("lib", "rollback", "--unpin", *dest).exit_code == 0
    hamictl.run("lib", "sync", *dest, "--source", store.second)
    assert (store.dest / "libvgpu.so").read_bytes() == libraries.two
    assert container_library(str(store.dest)).endswith("libvgpu.so.v2")


def test_a_rollback_to_nothing_or_to_a_changed_file_is_refused(store, hamictl, libraries):
    """Exit 2 names what is installed; exit 7 for a file that is not what was installed."""
    dest = ("--dest", store.dest)
    hamictl.run("lib", "sync", *dest, "--source", store.first)
    result = hamictl.run("lib", "rollback", "v7", *dest)
    assert (result.exit_code, "installed: v1" in result.stderr) == (2, True)
    (store.dest / "libvgpu.so.v1").write_bytes(libraries.two)
    assert hamictl.run("lib", "rollback", "v1", *dest).exit_code == 7
    assert hamictl.run("lib", "rollback", *dest).exit_code == 2


def test_containers_get_the_own_version_else_the_unversioned_else_an_error(store):
    """As HAMi resolves, but never a path that does not exist or that is not a sound file."""
    with pytest.raises(LibraryMissing):
        container_library(str(store.dest))
    sync(str(store.dest), str(store.first))
    (store.dest / "libvgpu.so.v1").unlink()
    assert container_library(str(store.dest)) == f"{store.dest}/libvgpu.so"
    (store.dest / "libvgpu.so").unlink()
    (store.dest / "libvgpu.so").symlink_to("/etc/hostname")
    with pytest.raises(LibraryMissing):
        container_library(str(store.dest))


def test_two_syncs_exclude_each_other(store):
    """The second waits, and gives up with LibraryBusy when the first does not end."""
    sync(str(store.dest), str(store.first))
    with (store.dest / ".hami/lock").open("r+") as lock:
        # Shared, which only an exclusive lock must wait for.
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(LibraryBusy):
            sync(str(store.dest), str(store.second), wait=0.1)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(sync, str(store.dest), str(store.second))
            until(lambda: inside(Lock._pause, "deadline"))
            assert not second.done()
            fcntl.flock(lock, fcntl.LOCK_UN)
            second.result()


def test_a_script_without_flock_and_a_sync_exclude_each_other(store):
    """The claim of a living process that has no flock is waited for."""
    sync(str(store.dest), str(store.first))
    claim = store.dest / ".hami/lock.d"
    claim.mkdir()
    start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    (claim / "owner").write_text(f"mkdir {os.getpid()} {start} {Path('/proc/self/ns/pid').readlink()}\n")
    with pytest.raises(LibraryBusy):
        sync(str(store.dest), str(store.second), wait=0.1)


def test_many_syncs_and_scripts_at_once_end_in_one_of_the_two_states(store, look):
    """Python and sh, with flock and without, in each other's way: every one succeeds, and the end is one source's."""
    script = REPOSITORY / "scripts" / "vgpu-init.sh"
    bare = store.base / "bin"
    bare.mkdir()
    tools = "sh ls id od tr grep md5sum uname mkdir cp mv rm chmod chown sed find cmp sleep readlink"
    for tool in tools.split():
        found = next(Path(f"{place}/{tool}") for place in ("/usr/bin", "/bin") if Path(f"{place}/{tool}").exists())
        (bare / tool).symlink_to(found)
    code = "import sys; from hamid.engine.library.sync import sync; sync(sys.argv[1], sys.argv[2])"
    running = []
    for turn in range(4):
        source = (store.first, store.second)[turn % 2]
        for command, path in (
            ([sys.executable, "-c", code], os.environ["PATH"]),
            (["/bin/sh", str(script)], os.environ["PATH"]),
            (["/bin/sh", str(script)], str(bare)),
        ):
            words = [*command, str(store.dest), str(source)]
            environment = {**os.environ, "PATH": path}
            running.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment))
    for process in running:
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    found = look.content(store.dest)
    assert found["libvgpu.so"] in (
        (store.first / "libvgpu.so").read_bytes(),
        (store.second / "libvgpu.so").read_bytes(),
    )
    assert look.leftovers(store.dest) == []


class Meddling(Calls):
    """Changes a file of the source whenever another one has been read."""

    def __init__(self, path, times):
        self.path = path
        self.times = times

    def __call__(self, function, /, *arguments, **named):
        result = function(*arguments, **named)
        if function is os.readv and self.times:
            self.times -= 1
            self.path.write_text(f"change {self.times}")
        return result


def test_a_source_that_changes_while_it_is_read_is_read_again(store, look):
    """What is installed is the source as it was at one time, the last."""
    sync(str(store.dest), str(store.first), calls=Meddling(store.first / "license", 3))
    assert look.content(store.dest)["license"] == b"change 0"
    assert verify(str(store.dest)) == ()


class MeddlingLate(Calls):
    """Changes a file of the source once, when it and two others have been copied."""

    def __init__(self, path):
        self.path = path
        self.left = 3

    def __call__(self, function, /, *arguments, **named):
        if function is os.posix_fadvise:
            self.left -= 1
            if self.left == 0:
                self.path.write_text("late")
        return function(*arguments, **named)


def test_a_file_that_changes_after_its_copy_is_copied_again(store, look):
    """The source is looked at once more before anything is published."""
    sync(str(store.dest), str(store.first), calls=MeddlingLate(store.first / "license"))
    assert look.content(store.dest)["license"] == b"late"


def changed_at(moment_ns):
    """A file's status with this time of its last change."""
    return os.stat_result(range(10), {"st_ctime_ns": moment_ns})


def test_times_are_believed_only_when_a_later_write_must_show():
    """A change in the present tick of the kernel's clock, or a time in whole seconds, may hide another change."""
    tick = time.clock_gettime_ns(5)
    for age, settled in ((-1_000_000_000, False), (50_000_001, True), (3_000_000_001, True)):
        assert is_settled(changed_at(tick - age)) == settled
    second = tick - tick % 1_000_000_000
    assert not is_settled(changed_at(second))
    assert is_settled(changed_at(second - 3_000_000_000))


def test_a_source_that_never_keeps_still_is_an_error(store, look):
    """Nothing is installed."""
    with pytest.raises(LibraryFailed, match="keeps changing"):
        sync(str(store.dest), str(store.first), calls=Meddling(store.first / "license", 1_000_000))
    assert look.content(store.dest) == {}


def test_many_files_in_many_folders_need_few_descriptors(store, look):
    """More files and folders than a process may open arrive all the same."""
    files = {f"d{number}/f{number}": str(number) for number in range(400)}
    store.fill(store.first, files)
    code = (
        "import resource, sys; from hamid.engine.library.sync import sync;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); sync(sys.argv[1], sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(store.dest), str(store.first)], check=True)
    assert look.content(store.dest)["d399/f399"] == b"399"


def test_a_lost_manifest_is_made_anew(store):
    """A sync of equal files records them again and touches none."""
    sync(str(store.dest), str(store.first))
    (store.dest / ".hami/manifest.json").unlink()
    inode = (store.dest / "libvgpu.so").stat().st_ino
    sync(str(store.dest), str(store.first), calls=REAL)
    assert verify(str(store.dest)) == ()
    assert (store.dest / "libvgpu.so").stat().st_ino == inode
