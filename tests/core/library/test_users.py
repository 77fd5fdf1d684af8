# SPDX-License-Identifier: Apache-2.0
import base64
import json

import pytest

from hamid.core.library.users import (
    FileMarks,
    LibraryUser,
    MappedFile,
    maps_file,
    mentions,
    mounts_file,
    parse_checkpoint,
    parse_maps,
    parse_mount_roots,
    roots_of,
)


@pytest.mark.parametrize(
    ("user", "text"),
    [(LibraryUser("process", "job", 7), "process job (7)"), (LibraryUser("claim", "ns/a"), "claim ns/a")],
)
def test_a_user_is_named_by_its_kind(user, text):
    """A process shows its pid too."""
    assert str(user) == text


def test_lines_that_are_no_mapping_of_a_file_are_passed_over():
    """Anonymous memory, short lines and mounts of another form name no file."""
    assert list(parse_maps("7f00-7f01 rw-p 00000000 00:00 0\nnonsense\n")) == []
    assert list(parse_mount_roots("30 1 0:27 /\n\n")) == []


@pytest.mark.parametrize(
    ("mounts", "roots"),
    [
        ([("/", "/")], {"/usr/local/vgpu/x"}),
        ([("/", "/"), ("/@local/", "/usr/local")], {"/usr/local/vgpu/x", "/@local/vgpu/x"}),
        ([("/y", "/usr/loc")], set()),
    ],
)
def test_a_file_has_a_path_in_every_mount_above_it(mounts, roots):
    """A mount whose name is only the beginning of a folder's name is not above the file."""
    assert roots_of("/usr/local/vgpu/x", mounts) == roots
    file = FileMarks("x", "/usr/local/vgpu/x", 1, roots=roots)
    assert mounts_file("/@local/vgpu/x", file) is ("/@local/vgpu/x" in roots)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"Data": {"PodDeviceEntries": [{}]}}', b'{"Data": 1}'])
def test_a_checkpoint_of_another_form_is_an_error(data):
    """What is not understood in full may name any file, so it is never taken for an empty list."""
    with pytest.raises(ValueError, match="not understood"):
        parse_checkpoint(data)


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
