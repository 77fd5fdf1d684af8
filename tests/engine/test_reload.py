# SPDX-License-Identifier: Apache-2.0
"""The configuration of a hamid that runs."""

import os
from pathlib import Path

import pytest
from support.narrow import present

from hamid.core.errors import NodeError
from hamid.engine.reload import Reloader, running, running_file
from hamid.node.paths import Paths


class Log:
    """Takes what is logged."""

    def __init__(self):
        self.events = []

    def __getattr__(self, _level):
        return lambda event, **fields: self.events.append((event, fields))


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "etc/hami").mkdir(parents=True)
    return Paths(str(tmp_path))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "etc/hami/hamid.yaml"


@pytest.fixture
def reloader(paths):
    made = Reloader(paths, {"NODE_NAME": "n1"}, Log())
    made.start()
    return made


def test_reading_a_configuration_claims_nothing(paths, reloader):
    """Only the hamid that serves writes down what is in force; --check-config beside it must not."""
    assert running(paths) is None
    reloader.publish()
    found = present(running(paths))
    assert (found.pid, found.version, found.problem) == (os.getpid(), 1, "")
    assert present(found.settings)["node_name"] == "n1"
    reloader.withdraw()
    assert running(paths) is None


def test_what_a_dead_process_left_is_not_in_force(paths, reloader):
    """After kill -9 the file stays; its pid may belong to another process by now."""
    reloader.publish()
    file = Path(running_file(paths))
    file.write_text(file.read_text().replace('"started": "', '"started": "1'))
    assert running(paths) is None


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\xff"])
def test_a_damaged_record_is_an_error_in_words(paths, reloader, text):
    """A damaged file is an error with a message, not a traceback."""
    reloader.publish()
    Path(running_file(paths)).write_text(text)
    with pytest.raises(NodeError, match="cannot read"):
        running(paths)


def test_a_bad_file_keeps_what_is_in_force(paths, file, reloader):
    """Reported until it is repaired; a change back to the earlier text counts too."""
    file.write_text("split_count: 4\n")
    assert reloader.changed()
    assert [each.name for each in reloader.reload().changed] == ["split_count"]
    file.write_text("split_count: none\n")
    assert reloader.changed()
    assert reloader.reload() is None
    assert not reloader.changed()
    assert (reloader.config.split_count, reloader.version) == (4, 2)
    assert "hamid.yaml:1: split_count" in present(running(paths)).problem
    file.write_text("split_count: 4\n")
    assert reloader.changed()
    assert reloader.reload().changed == ()
    assert reloader.problem == ""


def test_files_that_come_back_as_they_were_are_read_again(paths, file, reloader):
    """A folder that could not be listed for a while leaves no problem behind."""
    file.write_text("split_count: 4\n")
    reloader.reload()
    drop_ins = file.with_name("hamid.yaml.d")
    drop_ins.write_text("no folder")
    assert reloader.changed()
    assert reloader.reload() is None
    assert not reloader.changed()
    drop_ins.unlink()
    assert reloader.changed()
    assert reloader.reload() is not None
    assert reloader.problem == ""


def test_what_needs_a_new_start_is_named_until_it_is_taken_back(file, reloader):
    """The rest of the same file is in force."""
    file.write_text("hook_path: /opt\nsplit_count: 3\n")
    outcome = reloader.reload()
    assert outcome.waiting == ("hook_path",)
    assert (outcome.config.hook_path, outcome.config.split_count) == ("/usr/local", 3)
    file.write_text("split_count: 3\n")
    assert reloader.reload().waiting == ()
