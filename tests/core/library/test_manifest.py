# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.library.manifest import (
    Manifest,
    Record,
    decode_path,
    encode_path,
    format_manifest,
    make_record,
    parse_manifest,
    shown_path,
)
from hamid.core.library.plan import Digest

NAMES = st.text(st.characters(codec="utf-8"), min_size=1) | st.binary(min_size=1).map(os.fsdecode)
RECORDS = st.builds(
    Record,
    sha256=st.text(st.characters(codec="utf-8")),
    size=st.integers(0, 2**40),
    mode=st.integers(0, 0o777),
    version=st.just("v1"),
    source=st.just("/source"),
    installed_at=st.just("now"),
)
RECORD = Record("sha", 5, 0o644, "v1", "/source", "2026-01-01T00:00:00Z")


@given(st.dictionaries(NAMES, RECORDS, max_size=4))
def test_a_manifest_reads_back_as_it_was_written(files):
    """Every record is found again under its path, for paths of any bytes."""
    written = Manifest(version="v1", pinned="v0", files={encode_path(path): each for path, each in files.items()})
    found = parse_manifest(format_manifest(written))
    assert found == written
    assert found.paths == list(files)
    for path, each in files.items():
        assert found.record(path) == each
    assert found.record("not there") is None or "not there" in files


def test_the_whole_file_of_a_manifest():
    """The keys are those of the file's kind, in camel case, one a line."""
    content = format_manifest(Manifest(version="v1", files={"libvgpu.so.v1": RECORD}))
    assert json.loads(content) == {
        "apiVersion": "hami.io/v1",
        "kind": "LibraryManifest",
        "version": "v1",
        "pinned": "",
        "files": {
            "libvgpu.so.v1": {
                "sha256": "sha",
                "size": 5,
                "mode": 0o644,
                "version": "v1",
                "source": "/source",
                "installedAt": "2026-01-01T00:00:00Z",
            }
        },
    }
    assert content.endswith(b"}\n")
    assert max(line.count(b'":') for line in content.splitlines()) == 1


@pytest.mark.parametrize(("path", "version"), [("libvgpu.so.v1", "v1"), ("libvgpu.so", ""), ("license", "")])
def test_a_record_has_the_version_of_its_name(path, version):
    """A file that is no versioned library has no version."""
    found = make_record(path, Digest("md5", "sha"), size=5, mode=0o644, source="/source", now="now")
    assert found == Record("sha", 5, 0o644, version, "/source", "now")


@pytest.mark.parametrize(
    ("path", "shown"), [("/a b", "/a b"), ("/a\nb", "/a\\nb"), ("/\udcff", "/\\xff"), ("/\x1b[2J", "/\\x1b[2J")]
)
def test_a_path_is_shown_without_control_characters(path, shown):
    """Printable paths stay as they are, other characters are escaped."""
    assert shown_path(path) == shown


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
