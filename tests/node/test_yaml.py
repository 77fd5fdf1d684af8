# SPDX-License-Identifier: Apache-2.0
"""Files with hostile content."""

import contextlib
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.narrow import exactly

from hamid.core.errors import UsageError
from hamid.core.located import ConfigError
from hamid.node.config.yaml import MAX_BYTES, read_marked

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "\n".join(
    f"{after}: &{after} [{','.join(['*' + before] * 10)}]" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_lines_and_types_survive(tmp_path):
    """The tree keeps each value's type and the line where it stands."""
    file = tmp_path / "f.yaml"
    file.write_text("a: 1\nb:\n  - yes\n  - '8'\n  - 1.5\n  - null\n  - 2026-01-01\n")
    root = read_marked(str(file))
    tree = exactly(dict, root.value)
    assert tree["a"].value == 1
    assert [each.value for each in tree["b"].value] == [True, "8", 1.5, None, "2026-01-01"]
    assert [each.line for each in tree["b"].value] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: a: duplicate key"),
        ("a: [1\nb: 2", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [echo]", "has the tag"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        ("a: &x [*x]", "levels"),
        (BOMB, "expands to more"),
        ("[" * 5000, ""),
        ("{" * 5000, ""),
        ("a: *unknown", "is not valid YAML"),
        ("a: 0x" + "f" * 100_000, ""),
        ("a: " + "9" * 5000, ""),
    ],
)
def test_hostile_text_is_refused_with_its_line(tmp_path, text, said):
    """Duplicate keys, tags, alias bombs, endless nesting and huge numbers end in one error, soon and cheaply."""
    file = tmp_path / "f.yaml"
    file.write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError) as caught:
            read_marked(str(file))
        assert tracemalloc.get_traced_memory()[1] < 100 * MAX_BYTES
    except pytest.fail.Exception:
        # A number is a legal value of any length; what matters is that reading it ends.
        assert text.startswith("a: 0x")
    else:
        assert said in caught.value.message
        assert caught.value.message.startswith(str(file))
    finally:
        tracemalloc.stop()


def test_what_is_no_file_is_refused(tmp_path):
    """A directory, a FIFO, a missing or unnameable path: an error at once, never a wait."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "missing", "/dev/null", "/dev/zero", "a\0b"):
        with pytest.raises(UsageError):
            read_marked(str(path))


def test_a_huge_file_is_refused_unread(tmp_path):
    """A 100 MB file costs no more than the limit."""
    file = tmp_path / "huge"
    with file.open("wb") as sparse:
        sparse.truncate(100 * 1024 * 1024)
    with pytest.raises(UsageError, match="larger"):
        read_marked(str(file))


def test_an_empty_file_is_nothing(tmp_path):
    """No document reads as nothing, for the reader of the tree to complain about."""
    (tmp_path / "f").write_text("")
    assert read_marked(str(tmp_path / "f")).value is None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_an_error(tmp_path_factory, data):
    """For any bytes reading ends in a tree or in one of our errors."""
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(data)
    with contextlib.suppress(UsageError):
        read_marked(str(file))
