# SPDX-License-Identifier: Apache-2.0
"""The pure rules of the library store: names, versions, references, ELF files, paths in the manifest."""

import base64
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.errors import UnsafePath
from hamid.core.library.elf import library_problem
from hamid.core.library.gc import pod_of
from hamid.core.library.manifest import Manifest, decode_path, encode_path, format_manifest, parse_manifest, shown_path
from hamid.core.library.plan import (
    Bundle,
    Digest,
    Install,
    InstalledFile,
    SourceFile,
    installed_mode,
    library_version,
    plan_sync,
    resolve_library,
    version_order,
)
from hamid.core.library.users import (
    FileMarks,
    MappedFile,
    maps_file,
    mentions,
    parse_checkpoint,
    parse_maps,
    parse_mount_roots,
    roots_of,
)

MACHINE = os.uname().machine


def test_versions_are_ordered_as_people_count():
    """v2.9 comes before v2.10, a candidate before its release, and a leading v means nothing."""
    wanted = ["v1", "2.5.0", "v2.9.0", "v2.10.0-rc1", "v2.10.0", "v2.10.0.1", "v10"]
    assert sorted(set(wanted), key=version_order) == wanted


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("libvgpu.so", ""),
        ("a/libvgpu.so.v2.10.0", "v2.10.0"),
        ("libvgpu.so2", None),
        ("license", None),
        ("x.so.1", None),
    ],
)
def test_the_version_stands_in_the_name(path, version):
    """Empty for the unversioned name, None for what is no library."""
    assert library_version(path) == version


def test_the_own_version_comes_first_and_a_pin_before_it():
    """Else the unversioned file, else nothing."""
    names = ["libvgpu.so", "libvgpu.so.v1", "libvgpu.so.v2"]
    assert resolve_library(names, pinned="v1", own="v2") == "libvgpu.so.v1"
    assert resolve_library(names, pinned="v9", own="v2") == "libvgpu.so.v2"
    assert resolve_library(names, pinned="", own="v9") == "libvgpu.so"
    assert resolve_library(names[1:], pinned="", own="v9") is None


def test_permissions_lose_writers_and_set_id_and_libraries_gain_readers():
    """4777 becomes 0755; a private file stays private; a private library does not."""
    assert installed_mode("tool", 0o4777) == 0o755
    assert installed_mode("secret", 0o600) == 0o600
    assert installed_mode("libvgpu.so.v1", 0o600) == 0o644


def test_a_folder_in_a_files_place_is_unsafe():
    """A plan that would have to remove it does not come to be."""
    install = Install("/d", {"a": InstalledFile("a", kind="folder")})
    with pytest.raises(UnsafePath):
        plan_sync(Bundle("/s", (SourceFile("a", 1, 0o644),)), install)


def test_nothing_is_planned_for_nothing():
    """An empty bundle over an empty destination asks for no preload file either."""
    assert plan_sync(Bundle("/s"), Install("/d", {})) == ()


def test_md5_decides_where_it_is_known_and_sha256_elsewhere():
    """A file that we wrote has no MD5 yet."""
    assert Digest("a", "x").is_same(Digest("a", "y"))
    assert not Digest("a", "x").is_same(Digest("b", "x"))
    assert Digest("", "x").is_same(Digest("b", "x"))


@given(st.text(st.characters(codec="utf-8"), min_size=1) | st.binary(min_size=1).map(os.fsdecode))
def test_every_file_name_survives_the_manifest(name):
    """Encoding is reversible and valid Unicode, and what is shown cannot move a terminal's cursor."""
    assert decode_path(encode_path(name)) == name
    encode_path(name).encode()
    assert shown_path(name).isprintable()
    assert parse_manifest(format_manifest(Manifest(pinned=encode_path(name)))) is not None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"apiVersion": "hami.io/v2", "kind": "LibraryManifest"}'])
def test_a_manifest_of_another_kind_is_none(data):
    """Half a file, another document, or a newer version is not guessed at."""
    assert parse_manifest(data) is None


def test_a_name_is_mentioned_only_as_a_whole():
    """v1 is not mentioned by v10 or v1.2, but by v1 before a quote, a blank, a control byte or the end."""
    name = "libvgpu.so.v1"
    for data in (b"libvgpu.so.v10", b"libvgpu.so.v1.2", b"libvgpu.so.v1-rc", b"libvgpu.so.v", b"libvgpu.so"):
        assert not mentions(data, name)
    for data in (b'"/x/libvgpu.so.v1"', b"libvgpu.so.v1\x18\x01", b"libvgpu.so.v1", b"libvgpu.so.v1. "):
        assert mentions(b"libvgpu.so.v10 " + data, name)
    assert not mentions(b"/usr/local/vgpu/libvgpu.so.v1", "libvgpu.so")


def test_mappings_are_recognised_by_inode_and_by_path():
    """Deleted ones under their old path, blanks as the kernel escapes line ends, other devices by the name."""
    text = (
        "7f00-7f01 r-xp 00000000 fe:00 42 /usr/local/vgpu/libvgpu.so.v1 (deleted)\n"
        "7f02-7f03 r--p 00000000 00:1f 7 /opt/a b\\012c\n"
        "7f04-7f05 rw-p 00000000 00:00 0 [heap]\n"
    )
    found = list(parse_maps(text))
    assert found == [MappedFile("fe:00", 42, "/usr/local/vgpu/libvgpu.so.v1"), MappedFile("00:1f", 7, "/opt/a b\nc")]
    file = FileMarks("libvgpu.so.v1", "/usr/local/vgpu/libvgpu.so.v1", 7, {"fe:00"})
    assert maps_file(found[0], file)
    assert not maps_file(found[1], file)
    assert maps_file(MappedFile("00:1f", 7, "/usr/local/vgpu/libvgpu.so"), file)
    assert maps_file(MappedFile("fe:00", 7, "/elsewhere"), file)


def test_mount_sources_are_recognised_through_the_mounts_above():
    """A store on a file system or subvolume of its own has another path in mountinfo."""
    text = (
        "30 1 0:27 /@sub /usr/local rw - btrfs /dev/sda rw\n"
        "31 30 0:27 /@sub/vgpu/libvgpu.so.v1//deleted /x\\040y ro shared:1 - btrfs /dev/sda rw\n"
    )
    mounts = list(parse_mount_roots(text))
    assert mounts[1] == ("/@sub/vgpu/libvgpu.so.v1", "/x y")
    assert mounts[1][0] in roots_of("/usr/local/vgpu/libvgpu.so.v1", mounts)


def test_kubelets_checkpoint_gives_pods_and_answers():
    """Go writes bytes as base64, and no entries as null."""
    entry = {"PodUID": "u", "ContainerName": "c", "AllocResp": base64.b64encode(b"answer").decode()}
    found = parse_checkpoint(json.dumps({"Data": {"PodDeviceEntries": [entry]}}).encode())
    assert [(e.pod_uid, e.container, e.answer) for e in found] == [("u", "c", b"answer")]
    assert parse_checkpoint(b'{"Data": {"PodDeviceEntries": null}}') == ()
    with pytest.raises(ValueError, match="not understood"):
        parse_checkpoint(b'{"Data": {"PodDeviceEntries": [{"PodUID": "u", "ContainerName": "c", "AllocResp": "!"}]}}')


def test_a_containers_directory_names_its_pod():
    """`<uid>_<container>`; anything else names none."""
    assert [pod_of(name) for name in ("a-b_main", "_x", "x_", "x")] == ["a-b", "", "", ""]


def test_a_real_library_is_one(libraries):
    """The compiler's shared object passes on this machine, and on no other."""
    assert library_problem(libraries.one, MACHINE) == ""
    assert "another machine" in library_problem(libraries.one, "s390x")


def test_a_library_that_is_cut_off_is_none(libraries):
    """At every length but the whole: this is the half-written file that processes crashed on."""
    for length in range(0, len(libraries.one), 97):
        assert library_problem(libraries.one[:length], MACHINE)


@given(st.data())
def test_no_damage_makes_the_reader_of_elf_files_fail(libraries, data):
    """Whatever bytes are changed, the answer is a text, never an exception or an endless loop."""
    damaged = bytearray(libraries.one)
    headers = 4096
    for position, byte in data.draw(st.lists(st.tuples(st.integers(0, headers), st.integers(0, 255)), max_size=20)):
        damaged[position] = byte
    assert isinstance(library_problem(bytes(damaged), MACHINE), str)
