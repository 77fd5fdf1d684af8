# SPDX-License-Identifier: Apache-2.0
import pytest
from support.schemas import checked

from hamid.core.documents.library import (
    collection_document,
    selftest_document,
    status_document,
    sync_document,
    verification_document,
)
from hamid.core.library.gc import GRACE_SECONDS, ContainerFolder, judge_folder, judge_versions, versions_of
from hamid.core.library.manifest import Manifest, Record
from hamid.core.library.plan import MakeFolder, SetFileMode, Skip, StepReason, WriteFile, WritePreload
from hamid.core.library.selftest import Check
from hamid.core.library.users import LibraryUser

USER = LibraryUser("process", "job\n", 7)
RECORD = Record("sha", 5, 0o644, "v1", "/src\x1b/libvgpu.so.v1", "2026-01-01T00:00:00Z")
MANIFEST = Manifest(version="v1", pinned="v2", files={"libvgpu.so.v1": RECORD})


def head(kind):
    return {"apiVersion": "hami.io/v1", "kind": kind}


def row(name, action, reason, origin=None):
    return {"name": name, "action": action, "reason": reason, "origin": origin}


def test_a_sync_tells_every_step():
    """Each kind of step has its action and reason, and a written file the place that its content came from."""
    steps = (
        MakeFolder("lib"),
        Skip("a\n", StepReason.SAME),
        WriteFile("libvgpu.so", "libvgpu.so.v1", 0o644, StepReason.MISSING, installed=True),
        WriteFile("x", "x", 0o644, StepReason.DIFFERENT),
        SetFileMode("y", 0o644),
        WritePreload("/d/libvgpu.so\n"),
    )
    found = sync_document("/d", "/s", steps, dry_run=True, version="v1", pinned="", warnings=["w"])
    assert checked(found) == {
        **head("LibrarySync"),
        "dest": "/d",
        "source": "/s",
        "dryRun": True,
        "changed": True,
        "version": "v1",
        "pinned": None,
        "files": [
            row("lib", "folder", "missing"),
            row("a\\n", "skip", "same MD5"),
            row("libvgpu.so", "write", "missing", "/d/libvgpu.so.v1"),
            row("x", "write", "different", "/s/x"),
            row("y", "mode", "0644"),
            row("ld.so.preload", "preload", "different"),
        ],
        "warnings": ["w"],
    }


@pytest.mark.parametrize(
    ("steps", "changed"), [((), False), ((Skip("a", StepReason.SAME),), False), ((SetFileMode("a", 0o644),), True)]
)
def test_a_sync_that_only_skips_changed_nothing(steps, changed):
    """Every other step is a change; without a version or a pin both are null."""
    found = checked(sync_document("/d", "/s", steps, dry_run=False, version="", pinned="v1", warnings=()))
    assert (found["changed"], found["dryRun"], found["version"], found["pinned"]) == (changed, False, None, "v1")


USER_ROW = {"kind": "process", "name": "job\\n", "pid": 7}
STATUS = {
    **head("LibraryStatus"),
    "dest": "/d",
    "current": "/d/libvgpu.so.v1",
    "version": "v1",
    "pinned": "v2",
    "versions": [
        {
            "name": "libvgpu.so.v1",
            "version": "v1",
            "current": True,
            "pinned": False,
            "size": 5,
            "sha256": "sha",
            "source": "/src\\x1b/libvgpu.so.v1",
            "installedAt": "2026-01-01T00:00:00Z",
            "used": True,
            "users": [USER_ROW],
        },
        {
            "name": "libvgpu.so.v2",
            "version": "v2",
            "current": False,
            "pinned": True,
            "size": None,
            "sha256": None,
            "source": None,
            "installedAt": None,
            "used": False,
            "users": [],
        },
    ],
    "fallbackUsers": [USER_ROW],
    "warnings": ["w"],
}


def test_a_status_tells_every_version():
    """A version with a record has its facts, another one has nulls, and each user is named."""
    versions = versions_of(
        ["libvgpu.so.v1", "libvgpu.so.v2"], MANIFEST, current="libvgpu.so.v1", users={"libvgpu.so.v1": (USER,)}
    )
    found = status_document(
        "/d", current="libvgpu.so.v1", manifest=MANIFEST, versions=versions, fallback_users=[USER], warnings=["w"]
    )
    assert checked(found) == STATUS


def test_a_store_without_a_library_has_no_current_one():
    """Then path, version and pin are null."""
    found = checked(
        status_document("/d", current=None, manifest=Manifest(), versions=(), fallback_users=(), warnings=())
    )
    assert (found["current"], found["version"], found["pinned"], found["versions"]) == (None, None, None, [])


@pytest.mark.parametrize("drifts", [[], [("a\n", "missing", "it is gone")]])
def test_a_verification_is_intact_without_a_drift(drifts):
    """Each file that differs from what was installed has a code and a message."""
    assert checked(verification_document("/d", drifts)) == {
        **head("LibraryVerification"),
        "dest": "/d",
        "intact": not drifts,
        "drifts": [{"name": "a\\n", "code": "missing", "message": "it is gone"} for _ in drifts],
    }


def test_a_collection_tells_what_went_and_what_stays():
    """Versions and directories alike, each with its reason."""
    verdicts = (
        *judge_versions(versions_of(["libvgpu.so.v1"], MANIFEST, current=None, users={}), keep=0),
        judge_folder(ContainerFolder("u_main", "u", GRACE_SECONDS, "its pod is\nthere")),
    )
    assert checked(collection_document("/d", verdicts, dry_run=True, warnings=["w"])) == {
        **head("LibraryCollection"),
        "dest": "/d",
        "dryRun": True,
        "entries": [
            {"name": "libvgpu.so.v1", "kind": "version", "removed": True, "reason": "not in use"},
            {"name": "u_main", "kind": "container", "removed": False, "reason": "its pod is\\nthere"},
        ],
        "warnings": ["w"],
    }


@pytest.mark.parametrize("passed", [True, False])
def test_a_selftest_passes_with_all_its_checks(passed):
    """One check that fails is enough for the whole to fail."""
    checks = [Check(name="driver", passed=True, seen="a"), Check(name="limit", passed=passed, seen="b\n")]
    assert checked(selftest_document("/d/libvgpu.so", checks)) == {
        **head("LibrarySelftest"),
        "library": "/d/libvgpu.so",
        "passed": passed,
        "checks": [
            {"name": "driver", "passed": True, "seen": "a"},
            {"name": "limit", "passed": passed, "seen": "b\\n"},
        ],
    }
