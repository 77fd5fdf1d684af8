# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace

from hamid.core.errors import UnsafePath
from hamid.core.library.plan import (
    Bundle,
    Digest,
    Install,
    InstalledFile,
    MakeFolder,
    SetFileMode,
    Skip,
    SourceFile,
    StepReason,
    WriteFile,
    WritePreload,
    changes,
    installed_mode,
    library_version,
    plan_sync,
    resolve_library,
    version_order,
)


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


LIBRARY_FILE = SourceFile("libvgpu.so", 5, 0o644, Digest("m", "s"))
V1, V2 = (SourceFile(f"libvgpu.so.{name}", 5, 0o644, Digest(name, name)) for name in ("v1", "v2"))
SAME = InstalledFile("libvgpu.so", size=5, mode=0o644, digest=Digest("m", "s"))
LINE = "/d/libvgpu.so\n"


def planned(bundle, *installed, preload=LINE, **fields):
    """The steps beside those of the preload file, which the destination has already."""
    return plan_sync(bundle, Install("/d", {each.path: each for each in installed}, preload=preload), **fields)


@pytest.mark.parametrize(
    ("names", "version"),
    [((), ""), (("libvgpu.so", "license"), ""), (("libvgpu.so.v2", "a/libvgpu.so.v10", "libvgpu.so.v9"), "v10")],
)
def test_a_bundle_has_the_newest_version_that_it_carries(names, version):
    """A bundle with an unversioned library, or with none, has no version."""
    assert Bundle("/s", tuple(SourceFile(name, 1, 0o644) for name in names)).version == version


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (None, [WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.MISSING)]),
        (SAME, [Skip("libvgpu.so", StepReason.SAME)]),
        (replace(SAME, mode=0o600), [Skip("libvgpu.so", StepReason.SAME), SetFileMode("libvgpu.so", 0o644)]),
        (replace(SAME, mode=0o600, links=2), [WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.UNSAFE)]),
        (replace(SAME, links=2), [Skip("libvgpu.so", StepReason.SAME)]),
        (replace(SAME, trusted=False), [WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.UNSAFE)]),
        (replace(SAME, kind="link"), [WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.UNSAFE)]),
        (replace(SAME, size=6), [WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.DIFFERENT)]),
        (replace(SAME, digest=Digest("x", "s")), [WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.DIFFERENT)]),
        (replace(SAME, digest=None), [WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.DIFFERENT)]),
    ],
)
def test_what_becomes_of_a_file_of_the_bundle(found, steps):
    """An equal file is left alone, a mode is set only on a file of ours alone, and everything else is replaced."""
    bundle = Bundle("/s", (LIBRARY_FILE,))
    assert planned(bundle, *([] if found is None else [found])) == tuple(steps)
    assert changes(steps) == tuple(step for step in steps if not isinstance(step, Skip))


def test_the_unversioned_library_comes_after_the_versions_and_the_preload_file_last():
    """A kill between two steps leaves no name that leads to a missing file."""
    bundle = Bundle(
        "/s",
        (LIBRARY_FILE, SourceFile("license", 1, 0o644), V2, SourceFile("ld.so.preload", 1, 0o644), V1),
        folders=("lib", ".hami", "there"),
        others=("socket", "pipe"),
    )
    steps = plan_sync(bundle, Install("/d", {}, folders={"there"}))
    assert steps == (
        MakeFolder("lib"),
        Skip("pipe", StepReason.IRREGULAR),
        Skip("socket", StepReason.IRREGULAR),
        WriteFile("libvgpu.so.v1", "libvgpu.so.v1", 0o644, StepReason.MISSING),
        WriteFile("libvgpu.so.v2", "libvgpu.so.v2", 0o644, StepReason.MISSING),
        Skip("ld.so.preload", StepReason.MANAGED),
        WriteFile("license", "license", 0o644, StepReason.MISSING),
        WriteFile("libvgpu.so", "libvgpu.so", 0o644, StepReason.MISSING),
        WritePreload(LINE),
    )


@pytest.mark.parametrize(
    ("bundle", "pinned_file", "steps"),
    [
        (
            Bundle("/s", (V1, LIBRARY_FILE)),
            None,
            [
                WriteFile("libvgpu.so.v1", "libvgpu.so.v1", 0o644, StepReason.MISSING),
                Skip("libvgpu.so", StepReason.PINNED),
                WriteFile("libvgpu.so", "libvgpu.so.v1", 0o644, StepReason.DIFFERENT),
            ],
        ),
        (
            Bundle("/s"),
            V1,
            [WriteFile("libvgpu.so", "libvgpu.so.v1", 0o644, StepReason.DIFFERENT, installed=True)],
        ),
        (Bundle("/s"), replace(LIBRARY_FILE, path="libvgpu.so.v1"), [Skip("libvgpu.so", StepReason.SAME)]),
        (
            Bundle("/s", (LIBRARY_FILE,)),
            replace(LIBRARY_FILE, path="libvgpu.so.v1"),
            [Skip("libvgpu.so", StepReason.PINNED)],
        ),
        (Bundle("/s"), None, []),
    ],
)
def test_a_pin_decides_what_the_unversioned_library_is(bundle, pinned_file, steps):
    """It becomes the pinned version, from the bundle or as it is installed; without that version it stays."""
    assert planned(bundle, SAME, pinned="v1", pinned_file=pinned_file) == tuple(steps)


@pytest.mark.parametrize(
    ("preload", "libraries", "written"),
    [(LINE, ("libvgpu.so",), False), (None, ("libvgpu.so",), True), (None, (), False)],
)
def test_the_preload_file_is_written_where_there_is_a_library(preload, libraries, written):
    """It holds one line, and is left alone where it has that line or where no library is installed."""
    steps = plan_sync(Bundle("/s"), Install("/d", {}, libraries=libraries, preload=preload))
    assert steps == ((WritePreload(LINE),) if written else ())
