# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.library.gc import (
    GRACE_SECONDS,
    ContainerFolder,
    judge_folder,
    judge_versions,
    missing_hint,
    pod_of,
    versions_of,
)
from hamid.core.library.manifest import Manifest, Record
from hamid.core.library.users import LibraryUser

USER = LibraryUser("process", "job", 7)


def manifest(pinned="", **times):
    """A manifest that says when each version was installed."""
    files = {
        f"libvgpu.so.{name}": Record("sha", 1, 0o644, name, "/source", installed_at=time)
        for name, time in times.items()
    }
    return Manifest(pinned=pinned, files=files)


def versions(*names, current=None, users=None, **fields):
    files = [f"libvgpu.so.{name}" for name in names]
    return versions_of(files, manifest(**fields), current=current and f"libvgpu.so.{current}", users=users or {})


def test_the_current_version_comes_first_and_then_the_newest():
    """Versions are ordered by their installation, those without a record by number after all others."""
    found = versions("v1", "v2", "v9", "v10", "v3", current="v1", v1="2024", v2="2025", v3="2026")
    assert [each.version for each in found] == ["v1", "v3", "v2", "v10", "v9"]
    assert [each.current for each in found] == [True, False, False, False, False]
    assert found[1].installed_at == "2026"
    assert found[3].installed_at == ""


def test_only_versioned_libraries_are_versions():
    """The unversioned file and other files are never collected."""
    assert versions_of(["libvgpu.so", "license", "libvgpu.so."], Manifest(), current=None, users={}) == ()


def test_a_version_knows_its_pin_and_its_users():
    """The pin of the manifest and everything that refers to the file are told of that version alone."""
    one, two = versions("v2", "v1", pinned="v1", users={"libvgpu.so.v1": (USER,)})
    assert (one.version, one.pinned, one.users) == ("v2", False, ())
    assert (two.version, two.pinned, two.users) == ("v1", True, (USER,))


@pytest.mark.parametrize(
    ("fields", "keep", "removed", "reason"),
    [
        ({}, 0, True, "not in use"),
        ({}, 1, False, "one of the newest"),
        ({"current": "v1"}, 0, False, "current"),
        ({"pinned": "v1"}, 0, False, "pinned"),
        ({"users": {"libvgpu.so.v1": (USER, LibraryUser("pod", "ns/a"))}}, 0, False, "process job (7), pod ns/a"),
        ({"current": "v1", "pinned": "v1"}, 5, False, "current"),
    ],
)
def test_what_keeps_a_version(fields, keep, removed, reason):
    """Each reason alone is enough, the strongest is told, and a version without a reason is removed."""
    (verdict,) = judge_versions(versions("v1", **fields), keep=keep)
    assert (verdict.name, verdict.kind, verdict.removed, verdict.reason) == (
        "libvgpu.so.v1",
        "version",
        removed,
        reason,
    )


@given(st.integers(0, 6), st.integers(0, 6), st.none() | st.integers(0, 5))
def test_the_newest_and_the_current_version_stay(count, keep, current):
    """Of versions without users the first `keep` stay, and the current one even among more."""
    names = [f"v{number}" for number in range(count)]
    chosen = f"v{current}" if current is not None and current < count else None
    found = judge_versions(versions(*names, current=chosen), keep=keep)
    kept = [verdict.name for verdict in found if not verdict.removed]
    newest = [f"libvgpu.so.v{number}" for number in reversed(range(count))]
    front = [] if chosen is None else [f"libvgpu.so.{chosen}"]
    ordered = [*front, *(name for name in newest if name not in front)]
    assert [verdict.name for verdict in found] == ordered
    assert kept == ordered[: max(keep, len(front))]


@pytest.mark.parametrize(
    ("age", "kept_for", "removed", "reason"),
    [
        (GRACE_SECONDS, "", True, "its pod is gone"),
        (GRACE_SECONDS - 0.1, "", False, "changed less than a minute ago"),
        (GRACE_SECONDS, "its pod is there", False, "its pod is there"),
        (0.0, "its pod is there", False, "its pod is there"),
    ],
)
def test_a_directory_goes_with_its_pod(age, kept_for, removed, reason):
    """A directory of a pod that is gone is removed once it is old enough to be no new pod's."""
    verdict = judge_folder(ContainerFolder("u_main", "u", age, kept_for))
    assert (verdict.name, verdict.kind, verdict.removed, verdict.reason) == ("u_main", "container", removed, reason)


@pytest.mark.parametrize(
    ("libraries", "hint"),
    [
        ([], "install libvgpu.so: hamictl lib sync"),
        (["b", "a"], "installed: a, b; choose one: hamictl lib rollback VERSION"),
    ],
)
def test_what_to_do_without_a_library(libraries, hint):
    """Where versions are installed one of them can be chosen, else the library must be installed."""
    assert missing_hint(libraries) == hint


def test_a_containers_directory_names_its_pod():
    """`<uid>_<container>`; anything else names none."""
    assert [pod_of(name) for name in ("a-b_main", "_x", "x_", "x")] == ["a-b", "", "", ""]
