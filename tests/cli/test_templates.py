# SPDX-License-Identifier: Apache-2.0
"""Configured templates through the command line."""

import pytest

A100 = ("--sim", "1xA100-SXM4-40GB")
CUSTOM = """
metax: {anything: [1, 2, {3: 4}]}
nvidia:
  resourceCountName: nvidia.com/gpu
  knownMigGeometries:
    - models: [A100-SXM4-40GB]
      allowedGeometries:
        - - {name: 2g.10gb, memory: 10240, count: 2}
          - {name: 3g.20gb, memory: 20480, count: 1}
"""


@pytest.fixture
def custom(tmp_path):
    file = tmp_path / "custom.yaml"
    file.write_text(CUSTOM)
    return file


def served(document):
    return sorted(i["profile"] for gpu in document["gpus"] for i in gpu["instances"] if i["serves"])


def test_a_custom_template_replaces_the_shipped_ones(hamictl, custom):
    """Two of 2g and one 3g: three requests of 8000 MiB take all of it, the largest slot last."""
    words = (*A100, "mig", "plan", "--mem", "8000", "--templates", custom)
    assert served(hamictl.document(*words, "--count", "3")) == ["2g.10gb", "2g.10gb", "3g.20gb"]
    assert served(hamictl.document(*words, "--count", "2")) == ["2g.10gb", "2g.10gb"]
    assert hamictl.run(*words, "--count", "4").exit_code == 8


def test_the_nodes_own_device_config_is_read(hamictl, custom, tmp_path):
    """/etc/hami/device-config.yaml below the root is in force without being named."""
    folder = tmp_path / "root/etc/hami"
    folder.mkdir(parents=True)
    custom.rename(folder / "device-config.yaml")
    words = (*A100, "--root", tmp_path / "root", "mig", "plan", "--mem", "8000", "--count", "3")
    assert served(hamictl.document(*words)) == ["2g.10gb", "2g.10gb", "3g.20gb"]


def test_a_device_config_without_geometries_leaves_the_shipped_ones(hamictl, tmp_path):
    """HAMi 2.10 has no geometries in this file any more."""
    folder = tmp_path / "etc/hami"
    folder.mkdir(parents=True)
    (folder / "device-config.yaml").write_text("nvidia:\n  migProfileAllowlist: []\n")
    assert hamictl.run(*A100, "--root", tmp_path, "mig", "plan", "--mem", "8000").exit_code == 0


def test_the_flat_list_of_hamis_articles_is_read_with_a_warning(hamictl, tmp_path):
    """It is grouped by what fits the board, and the warning shows the groups."""
    file = tmp_path / "flat.yaml"
    file.write_text(
        "knownMigGeometries:\n- models: [A100-SXM4-40GB]\n  allowedGeometries:\n"
        "  - {name: 1g.5gb, memory: 5120, count: 7}\n  - {name: 2g.10gb, memory: 10240, count: 3}\n"
        "  - {name: 1g.5gb, memory: 5120, count: 1}\n"
    )
    plan = hamictl.document(*A100, "mig", "plan", "--mem", "8000", "--count", "2", "--templates", file)
    assert plan["gpus"][0]["template"] == {"index": 1, "profiles": {"2g.10gb": 3, "1g.5gb": 1}}
    assert any("2g.10gb*3 + 1g.5gb*1" in warning for warning in plan["warnings"])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("count: 2", "count: 4", ":8: allowedGeometries[0]"),
        ("2g.10gb", "2g.20gb", "no profile 2g.20gb"),
        ("count: 2", "count: -1", ":8: "),
        ("count: 2", "count: two", ":8: "),
        ("count: 2", "count: 99999999999999999999", ":8: "),
        ("count: 2", "count: 2, count: 3", ":8: count: duplicate key"),
        ("models: [A100-SXM4-40GB]", "models: 3", ":6: "),
        ("nvidia:", "nvidia: &a\n  self: *a", "levels"),
        ("nvidia:", "amd:", "knownMigGeometries: is missing"),
    ],
)
def test_a_bad_file_is_exit_code_2_with_path_and_line(hamictl, custom, before, after, said):
    """Each mistake is told with the file, its line and its key; no plan is printed."""
    custom.write_text(CUSTOM.replace(before, after, 1))
    result = hamictl.run(*A100, "mig", "plan", "--mem", "8000", "--templates", custom)
    assert result.exit_code == 2
    assert str(custom) in result.stderr
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("what", ["missing", ".", "/dev/null"])
def test_what_is_no_file_is_exit_code_2(hamictl, tmp_path, what):
    """A missing file, a directory and a device are refused at once."""
    result = hamictl.run(*A100, "mig", "plan", "--mem", "8000", "--templates", tmp_path / what)
    assert result.exit_code == 2
