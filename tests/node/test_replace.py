# SPDX-License-Identifier: Apache-2.0
"""A file is replaced whole or not at all."""

import json
import os
import stat
import subprocess
import sys

import pytest
from support import SUPPORT

from hamid.node.files.replace import replace_file
from hamid.testing.file_steps import CountingCalls

DURABLE = ["open", "open", "write", "fchown", "fchmod", "fsync", "close", "rename", "fsync", "close"]


def every_step(mode, folder):
    command = [sys.executable, str(SUPPORT / "replace_steps.py"), mode, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_kill_at_any_call_leaves_the_old_file_or_the_new(tmp_path):
    """Before and after every call the file is whole; the new content appears with the rename."""
    found = every_step("kill", tmp_path)
    assert found["calls"] == DURABLE
    assert all(each["answer"] for each in found["steps"])
    before, after = found["steps"][: 2 * 7 + 1], found["steps"][2 * 7 + 1 :]
    assert {each["content"] for each in before} == {"old"}
    assert {each["content"] for each in after} == {"new"}
    assert all(each["left"] == [] for each in after)


def test_an_error_at_any_call_leaves_the_old_file_and_no_temporary_file(tmp_path):
    """ENOSPC, EIO and EACCES at every call name the path; only the directory's flush comes after the new content."""
    steps = every_step("fail", tmp_path)["steps"]
    refused = [each for each in steps if each["call"] != "close"]
    assert all(each["answer"] == str(tmp_path / "file") for each in refused)
    assert [each["left"] for each in steps if each["left"]] == []
    assert {each["content"] for each in refused[:-3]} == {"old"}
    assert {each["content"] for each in refused[-3:]} == {"new"}


@pytest.mark.parametrize("before", ["nothing", "file", "link"])
def test_what_stood_there_is_replaced(tmp_path, before):
    """A file keeps neither its mode nor its owner, and a link is not followed."""
    path = tmp_path / "file"
    if before == "file":
        path.touch(mode=0o600)
    if before == "link":
        (tmp_path / "other").write_text("other")
        path.symlink_to("other")
    replace_file(str(path), b"new", mode=0o444)
    assert (path.read_bytes(), stat.S_IMODE(path.lstat().st_mode)) == (b"new", 0o444)
    assert before != "link" or (tmp_path / "other").read_text() == "other"


def test_without_a_mode_the_umask_decides(tmp_path):
    """An operator's file gets the permissions that any program would give it."""
    before = os.umask(0o027)
    try:
        replace_file(str(tmp_path / "file"), b"", mode=None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_file_that_may_be_lost_is_not_flushed(tmp_path):
    """A cache costs no wait for the disk."""
    calls = CountingCalls()
    replace_file(str(tmp_path / "file"), b"x" * 1_000_000, durable=False, calls=calls)
    assert "fsync" not in calls.names
    assert (tmp_path / "file").stat().st_size == 1_000_000
