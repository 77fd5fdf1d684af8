# SPDX-License-Identifier: Apache-2.0
"""What hamictl lib sync and scripts/vgpu-init.sh promise alike: results, messages, exit codes, links, kills."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from support import REPOSITORY

NAMESPACE = Path("/proc/self/ns/pid").readlink()
SCRIPT = REPOSITORY / "scripts" / "vgpu-init.sh"


def test_a_fresh_destination_gets_everything_in_its_place(install, store, look):
    """Versions, the unversioned library, nested files and modes as in the source, and the preload line."""
    done = install(store.dest, store.first)
    assert done.code == 0, done.err
    expected = {**look.content(store.first), "ld.so.preload": f"{store.dest}/libvgpu.so\n".encode()}
    assert look.content(store.dest) == expected
    assert (store.dest / "tools/deep/validator").stat().st_mode & 0o7777 == 0o755
    assert (store.dest / "license").stat().st_mode & 0o7777 == 0o644
    assert look.leftovers(store.dest) == []
    s, d = store.first, store.dest
    assert done.lines == sorted(
        [
            *(
                f"Copied: {s}/{n} -> {d}/{n}"
                for n in ("libvgpu.so", "libvgpu.so.v1", "license", "tools/deep/validator")
            ),
            f"Created: {d}/tools",
            f"Created: {d}/tools/deep",
            f"Updated: {d}/ld.so.preload -> {d}/libvgpu.so",
        ]
    )


def test_the_second_run_touches_nothing(install, store, look):
    """Equal files keep inode and times, and the lines say so in HAMi's words."""
    install(store.dest, store.first)
    before = look.inodes(store.dest)
    done = install(f"{store.dest}/", store.first)
    assert (done.code, look.inodes(store.dest)) == (0, before)
    names = ("libvgpu.so", "libvgpu.so.v1", "license", "tools/deep/validator")
    assert done.lines == [f"Skipped (same MD5): {store.first}/{name}" for name in names]


def test_a_new_version_leaves_the_old_one(install, store, look, libraries):
    """v2 arrives beside v1; who has the old unversioned file open keeps its content."""
    install(store.dest, store.first)
    with (store.dest / "libvgpu.so").open("rb") as held:
        kept = look.inodes(store.dest)["libvgpu.so.v1"]
        assert install(store.dest, store.second).code == 0
        assert held.read() == libraries.one
    assert look.inodes(store.dest)["libvgpu.so.v1"] == kept
    found = look.content(store.dest)
    assert found["libvgpu.so"] == found["libvgpu.so.v2"] == libraries.two
    assert (found["license"], found["tools/new"]) == (b"second", b"n")
    assert "tools/deep/validator" in found


def test_a_changed_file_of_the_same_version_gets_a_new_inode(install, store, look, libraries):
    """HAMi copies a rebuild over the mapped file; here the old inode stays whole for its users."""
    install(store.dest, store.first)
    old = (store.dest / "libvgpu.so.v1").stat().st_ino
    (store.first / "libvgpu.so.v1").write_bytes(libraries.two)
    done = install(store.dest, store.first)
    assert f"Copied: {store.first}/libvgpu.so.v1 -> {store.dest}/libvgpu.so.v1" in done.lines
    assert (store.dest / "libvgpu.so.v1").stat().st_ino != old


def test_only_versioned_files_give_the_same_preload_line(install, store, look):
    """The line names the unversioned path, which is where containers have their library mounted."""
    (store.first / "libvgpu.so").unlink()
    assert install(store.dest, store.first).code == 0
    assert look.content(store.dest)["ld.so.preload"] == f"{store.dest}/libvgpu.so\n".encode()
    assert "libvgpu.so" not in look.content(store.dest)


def test_managed_files_of_the_source_are_not_copied(install, store, look):
    """A source's own ld.so.preload names HAMi's fixed path, and .hami is ours."""
    store.fill(store.first, {"ld.so.preload": "/elsewhere\n", ".hami/manifest.json": "{}", "tools/ld.so.preload": "x"})
    done = install(store.dest, store.first)
    assert f"Skipped managed file: {store.first}/ld.so.preload" in done.lines
    assert f"Skipped managed file: {store.first}/.hami/manifest.json" in done.lines
    assert look.content(store.dest)["ld.so.preload"] == f"{store.dest}/libvgpu.so\n".encode()
    assert look.content(store.dest)["tools/ld.so.preload"] == b"x"


def test_what_is_no_regular_file_is_named_and_left(install, store, look):
    """Links and pipes of the source are not followed, opened or copied."""
    (store.first / "link").symlink_to("/etc/passwd")
    (store.first / "folderlink").symlink_to("/etc")
    os.mkfifo(store.first / "pipe")
    done = install(store.dest, store.first)
    assert done.code == 0, done.err
    for name in ("link", "folderlink", "pipe"):
        assert f"Skipped (not a regular file): {store.first}/{name}" in done.lines
        assert name not in look.content(store.dest)


def test_names_of_every_kind_arrive(install, store, look):
    """Blanks, quotes, dashes, stars, line ends, hidden names, bytes that are no text, empty folders and files."""
    names = ["a b", "-n", "--", 'it\'s "q"', "*", "[x]", ".hidden", "..two", "line\nend", "\udcff\udcfe", "%41", "~"]
    store.fill(store.first, {name: f"content of {name!r}" for name in names})
    store.fill(store.first, {"-d/*/ x": "nested", "empty": b"", "n" * 255: "long"})
    (store.first / "nothing").mkdir()
    done = install(store.dest, store.first)
    assert done.code == 0, done.err
    found = look.content(store.dest)
    assert {**look.content(store.first), "ld.so.preload": found["ld.so.preload"]} == found
    before = look.inodes(store.dest)
    assert install(store.dest, store.first).code == 0
    assert look.inodes(store.dest) == before


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("text", "not an ELF file"),
        (b"", "not an ELF file"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(60), "not a shared object"),
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x08\x00" + bytes(60), "not built for"),
    ],
)
def test_a_false_library_is_refused_before_anything_is_written(install, store, content, problem):
    """One bad libvgpu.so, however deep, and the destination does not even come to be."""
    store.fill(store.first, {"deep/libvgpu.so.bad": content})
    done = install(store.dest, store.first)
    assert (done.code, problem in done.err, store.dest.exists()) == (7, True, False), done.err


def test_a_library_without_the_exports_is_refused(install, store, tmp_path):
    """A shared object for this machine that does not name dlsym and cuInit is not libvgpu."""
    out = store.first / "libvgpu.so.none"
    code = "int other(void) { return 0; }"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(out)], input=code, text=True, check=True)
    install(store.dest, store.second)
    done = install(store.dest, store.first)
    assert (done.code, "does not export dlsym and cuInit" in done.err) == (7, True)
    assert not (store.dest / "libvgpu.so.v1").exists()


def test_links_planted_at_names_are_replaced_not_followed(install, store, look, libraries):
    """A link to a file, to a folder, or to nothing, and a hard link: what they lead to stays as it is."""
    victim = store.fill(store.base / "victim", {"a": "a", "b": "b", "folder/x": "x"})
    store.dest.mkdir()
    (store.dest / "libvgpu.so").symlink_to(victim / "a")
    (store.dest / "libvgpu.so.v1").symlink_to(victim / "folder")
    (store.dest / "ld.so.preload").symlink_to(victim / "not-there")
    os.link(victim / "b", store.dest / "license")
    before = look.content(victim)
    done = install(store.dest, store.first)
    assert (done.code, look.content(victim)) == (0, before), done.err
    found = look.content(store.dest)
    assert found["libvgpu.so"] == found["libvgpu.so.v1"] == libraries.one
    assert (found["license"], found["ld.so.preload"]) == (b"first", f"{store.dest}/libvgpu.so\n".encode())


@pytest.mark.parametrize("name", ["tools", ".hami", ".hami/lock", ".hami/lock.d"])
def test_a_link_where_a_folder_or_a_lock_belongs_is_refused(install, store, look, name):
    """Nothing is made behind a planted link."""
    victim = store.base / "victim"
    victim.mkdir()
    (store.dest / name).parent.mkdir(parents=True)
    (store.dest / name).symlink_to(victim)
    done = install(store.dest, store.first)
    assert done.code != 0
    assert list(victim.iterdir()) == []


def test_a_destination_behind_a_link_is_refused(install, store):
    """Also when the link stands in the middle of the path."""
    (store.base / "real").mkdir()
    (store.base / "link").symlink_to(store.base / "real")
    done = install(store.base / "link" / "vgpu", store.first)
    assert (done.code, "link" in done.err) == (7, True)
    assert list((store.base / "real").iterdir()) == []


@pytest.mark.parametrize(("mode", "code"), [(0o777, 7), (0o757, 7), (0o1777, 0), (0o775, 0), (0o755, 0)])
@pytest.mark.parametrize("where", ["parent", "parent/vgpu", "parent/vgpu/tools"])
def test_a_directory_that_others_can_write_to_is_refused(install, store, where, mode, code):
    """Writable by all is refused unless sticky and ours; writable by a group is only warned of."""
    dest = store.base / "parent" / "vgpu"
    (dest / "tools").mkdir(parents=True)
    (store.base / where).chmod(mode)
    done = install(dest, store.first)
    assert done.code == code, done.err
    assert ("writable" in done.err) == (code == 7 or mode == 0o775)
    assert (dest / "libvgpu.so").exists() == (code == 0)


def test_a_folder_where_a_file_belongs_is_refused_whole(install, store, look):
    """Nothing at all is installed, and the folder keeps what it holds."""
    store.fill(store.dest, {"license/kept": "k"})
    before = look.content(store.dest)
    done = install(store.dest, store.first)
    assert done.code == 7, done.err
    after = {name: data for name, data in look.content(store.dest).items() if data is not None}
    assert after == {name: data for name, data in before.items() if data is not None}
    assert look.leftovers(store.dest) == []


def test_an_equal_file_that_others_can_write_to_is_replaced(install, store, libraries):
    """The same content today is no promise for tomorrow."""
    store.fill(store.dest, {"libvgpu.so": libraries.one})
    (store.dest / "libvgpu.so").chmod(0o666)
    old = (store.dest / "libvgpu.so").stat().st_ino
    install(store.dest, store.first)
    status = (store.dest / "libvgpu.so").stat()
    assert (status.st_ino != old, status.st_mode & 0o7777) == (True, 0o644)


def test_an_equal_file_with_other_permissions_keeps_its_inode(install, store, libraries):
    """Only the permissions are set."""
    store.fill(store.dest, {"libvgpu.so": libraries.one})
    (store.dest / "libvgpu.so").chmod(0o600)
    old = (store.dest / "libvgpu.so").stat().st_ino
    done = install(store.dest, store.first)
    status = (store.dest / "libvgpu.so").stat()
    assert (status.st_ino, status.st_mode & 0o7777) == (old, 0o644)
    assert f"Skipped (same MD5): {store.first}/libvgpu.so" in done.lines


def test_no_source_is_an_error_and_an_empty_one_is_said(install, store):
    """A missing directory is exit 2; an empty one installs nothing and makes nothing."""
    assert install(store.dest, store.base / "nowhere").code == 2
    (store.base / "empty" / "folder").mkdir(parents=True)
    done = install(store.dest, store.base / "empty")
    assert (done.code, done.lines[0].startswith("Nothing to install")) == (0, True)
    assert not store.dest.exists()


def test_a_destination_inside_the_source_is_refused(install, store):
    """It would copy itself into itself."""
    assert install(store.first / "inside", store.first).code == 2
    assert install(store.first, store.first).code == 2


def test_left_overs_of_a_killed_run_go(install, store, look):
    """Temporary files anywhere in the store, and the claim of an owner that is dead, do not outlive the next run."""
    install(store.dest, store.first)
    for name in (".hami-tmp.1", ".hami/.hami-tmp.2", "tools/deep/.hami-tmp.3"):
        (store.dest / name).write_text("half")
    (store.dest / ".hami/lock.d").mkdir()
    (store.dest / ".hami/lock.d/owner").write_text(f"flock 4194305 1 {NAMESPACE}\n")
    assert install(store.dest, store.second).code == 0
    assert look.leftovers(store.dest) == []


def test_a_dead_owner_without_flock_is_known_by_its_pid(install, store, look):
    """A claim made by mkdir alone names a process; when that is gone the claim is void."""
    install(store.dest, store.first)
    (store.dest / ".hami/lock.d").mkdir()
    (store.dest / ".hami/lock.d/owner").write_text(f"mkdir 4194305 1 {NAMESPACE}\n")
    # One that does not know it waits a minute and fails.
    assert install(store.dest, store.second).code == 0


def test_a_pin_is_respected_by_every_program(install, store, hamictl, libraries):
    """After a rollback neither program puts another unversioned library there."""
    hamictl.run("lib", "sync", "--dest", store.dest, "--source", store.first)
    assert hamictl.run("lib", "rollback", "v1", "--dest", store.dest).exit_code == 0
    done = install(store.dest, store.second)
    assert f"Skipped (pinned to v1): {store.second}/libvgpu.so" in done.lines
    assert (store.dest / "libvgpu.so").read_bytes() == libraries.one
    assert (store.dest / "libvgpu.so.v2").read_bytes() == libraries.two


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
def test_somebody_who_may_not_write_gets_exit_4(kind, install, store, look):
    """Not permitted is told apart from failure, and nothing changes."""
    if kind == "hamictl":
        pytest.skip("runs within this process, which is root; test_faults becomes another user")
    shutil.copytree(store.first, store.base / "open", copy_function=shutil.copy2)
    store.dest.mkdir()
    store.base.chmod(0o755)
    shell = {"dash": ["dash"], "ash": ["busybox", "ash"]}[kind]
    with SCRIPT.open("rb") as text:
        command = [*shell, "-s", str(store.dest), str(store.base / "open")]
        done = subprocess.run(command, stdin=text, user=65534, group=65534, capture_output=True, text=True, check=False)
    assert done.returncode in (4, 7), done.stderr
    assert look.content(store.dest) == {}


DEADLY = """#!/bin/sh
passed=$(($(cat "{count}") + 1))
echo "$passed" >"{count}"
[ "$passed" != "$DIE_AT" ] || kill -9 0
exec "{program}" "$@"
"""


@pytest.fixture
def deadly(tmp_path):
    """An environment in which the process group dies before its command of that number that changes files."""
    folder, count = tmp_path / "deadly", tmp_path / "count"
    folder.mkdir()
    for name in ("chmod", "cp", "mkdir", "mv", "rm"):
        (folder / name).write_text(DEADLY.format(count=count, program=shutil.which(name)))
        (folder / name).chmod(0o755)

    def environment(number):
        count.write_text("0")
        return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "DIE_AT": str(number)}

    return environment


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "ash"]], ids=["dash", "ash"])
def test_a_script_killed_at_any_command_leaves_whole_files_and_is_completed(store, look, hamictl, deadly, shell):
    """Before each command that changes files; the script and hamictl take turns in completing its work."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed here")
    old = {**look.content(store.first), "ld.so.preload": f"{store.dest}/libvgpu.so\n".encode()}
    new = {**old, **look.content(store.second)}
    run = [*shell, str(SCRIPT), str(store.dest)]
    deaths = 0
    for number in range(1, 100):
        shutil.rmtree(store.dest, ignore_errors=True)
        assert subprocess.run([*run, str(store.first)], capture_output=True, check=False).returncode == 0
        code = subprocess.run(
            [*run, str(store.second)],
            env=deadly(number),
            start_new_session=True,
            capture_output=True,
            check=False,
        ).returncode
        if code == 0:
            break
        assert code == -signal.SIGKILL
        deaths += 1
        for name, data in look.content(store.dest).items():
            assert data is None or ".hami-tmp." in name or data in (old.get(name), new.get(name)), name
        if deaths % 2:
            assert subprocess.run([*run, str(store.second)], capture_output=True, check=False).returncode == 0
        else:
            assert hamictl.run("lib", "sync", "--dest", store.dest, "--source", store.second).exit_code == 0
        assert look.content(store.dest) == new
        assert look.leftovers(store.dest) == []
    # busybox may run commands of its own instead.
    assert deaths > 10 or shell != ["dash"]
