# SPDX-License-Identifier: Apache-2.0
"""mig-parted's files as they are in the field: one for many boards, applied, checked, exported, applied back."""

import pytest

# The shapes that operators have: all off, all on, one profile, a mixture, filters by PCI id, +me, some GPUs.
FIELD = """
# One file for every node of the fleet.
version: v1
mig-configs:
  all-disabled:
    - devices: all
      mig-enabled: false

  all-enabled:
    - devices: all
      mig-enabled: true
      mig-devices: {}

  # A100-40GB, A800-40GB
  all-1g.5gb:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 7

  all-1g.5gb.me:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb+me": 1

  # A30-24GB
  all-1g.6gb:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.6gb": 4

  # H100-80GB, H800-80GB, A100-80GB, A800-80GB
  all-1g.10gb:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.10gb": 7

  all-balanced:
    # A100-40GB
    - device-filter: ["0x20B010DE", "0x20B110DE", "0x20F110DE", "0x20F610DE"]
      devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 2
        "2g.10gb": 1
        "3g.20gb": 1

    # H100-80GB, A100-80GB
    - device-filter: ["0x233110DE", "0x233010DE", "0x232410DE", "0x20B210DE", "0x20B510DE", "0x20F310DE", "0x20F510DE"]
      devices: all
      mig-enabled: true
      mig-devices:
        "1g.10gb": 2
        "2g.20gb": 1
        "3g.40gb": 1

    # A30-24GB
    - device-filter: "0x20B710DE"
      devices: all
      mig-enabled: true
      mig-devices:
        "1g.6gb": 2
        "2g.12gb": 1

  custom-config:
    - devices: [0]
      mig-enabled: false
    - devices: [1, 2]
      mig-enabled: true
      mig-devices:
        "3g.20gb": 2
    - devices: [3]
      mig-enabled: true
      mig-devices: {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}
"""
BALANCED_40, BALANCED_80 = {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}, {"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1}
BALANCED_30 = {"1g.6gb": 2, "2g.12gb": 1}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(FIELD)
    return path


def counts(hamictl, state):
    """What lies on each GPU, by index."""
    found: dict[int, dict[str, int]] = {}
    for each in hamictl.document("--sim", state, "mig", "list")["instances"]:
        gpu = found.setdefault(each["gpu"], {})
        gpu[each["profile"]] = gpu.get(each["profile"], 0) + 1
    return found


@pytest.mark.parametrize(
    ("spec", "name", "wanted"),
    [
        ("2xA100-SXM4-40GB", "all-1g.5gb", {0: {"1g.5gb": 7}, 1: {"1g.5gb": 7}}),
        ("1xA100-SXM4-40GB", "all-1g.5gb.me", {0: {"1g.5gb+me": 1}}),
        ("1xA30", "all-1g.6gb", {0: {"1g.6gb": 4}}),
        ("1xH100-80GB-SXM5", "all-1g.10gb", {0: {"1g.10gb": 7}}),
        (
            "1xA100-SXM4-40GB,1xA30,1xA100-SXM4-80GB,1xH100-80GB-SXM5",
            "all-balanced",
            {0: BALANCED_40, 1: BALANCED_30, 2: BALANCED_80, 3: BALANCED_80},
        ),
        ("4xA100-SXM4-40GB", "custom-config", {1: {"3g.20gb": 2}, 2: {"3g.20gb": 2}, 3: BALANCED_40}),
        ("2xA100-SXM4-40GB", "all-enabled", {}),
        ("2xA100-SXM4-40GB", "all-disabled", {}),
    ],
)
def test_a_file_from_the_field_works_unchanged(hamictl, node, tmp_path, file, spec, name, wanted):
    """Apply makes what it says, check agrees, and what is exported checks and applies back as no change."""
    state = node(spec)

    def run(*words):
        return hamictl.run("--sim", state, "mig", *words).exit_code

    already = name == "all-disabled"
    assert run("check", "-f", file, "-c", name) == (0 if already else 3)
    assert run("apply", "-f", file, "-c", name, "--yes") == 0
    assert counts(hamictl, state) == wanted
    assert run("check", "-f", file, "-c", name) == 0
    exported = tmp_path / "exported.yaml"
    exported.write_text(hamictl.run("--sim", state, "mig", "export", "-o", "mig-parted").stdout)
    assert run("check", "-f", exported) == 0
    assert hamictl.document("--sim", state, "mig", "apply", "-f", exported, "--yes")["steps"] == []
    assert run("apply", "-f", file, "-c", "all-disabled", "--yes") == 0
    assert counts(hamictl, state) == {}
    assert run("apply", "-f", exported, "--yes") == 0
    assert counts(hamictl, state) == wanted


def test_a_configuration_for_another_board_is_refused_whole(hamictl, node, file):
    """On a mixed node `all-1g.5gb` fits one GPU and not the other: exit code 2, the profile named, nothing done."""
    state = node("1xA100-SXM4-40GB,1xA30")
    result = hamictl.run("--sim", state, "mig", "apply", "-f", file, "-c", "all-1g.5gb", "--yes")
    assert result.exit_code == 2
    assert "1g.5gb" in result.stderr
    assert counts(hamictl, state) == {}


def test_which_configuration_must_be_said_where_there_are_several(hamictl, node, file):
    """Without -c the error lists the names."""
    state = node("1xA30")
    result = hamictl.run("--sim", state, "mig", "apply", "-f", file, "--yes")
    assert result.exit_code == 2
    assert "all-balanced" in result.stderr


def test_a_filter_goes_by_the_driver_s_pci_id(hamictl, node, tmp_path):
    """An entry for a board that is not there leaves the node alone; with the GPU's own id it acts."""
    state = node("1xA30")
    for device, expected in (("0x20B010DE", {}), ("0x20B710DE", {0: {"4g.24gb": 1}})):
        path = tmp_path / "filter.yaml"
        path.write_text(
            f'version: v1\nmig-configs: {{x: [{{device-filter: "{device}", devices: all, mig-enabled: true, '
            'mig-devices: {"4g.24gb": 1}}]}\n'
        )
        assert hamictl.run("--sim", state, "mig", "apply", "-f", path, "--yes").exit_code == 0
        assert counts(hamictl, state) == expected
