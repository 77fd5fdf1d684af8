# SPDX-License-Identifier: Apache-2.0
"""The commands that change MIG, on lasting simulated nodes."""

import contextlib
import json
import sqlite3

import jsonschema
import pytest
import yaml
from support import REPOSITORY

from hamid.node.simulation import lifecycle

SCHEMA_FOLDER = REPOSITORY / "docs" / "json"
SCHEMA = json.loads((SCHEMA_FOLDER / "MigChange.schema.json").read_text())
BALANCED = """
version: v1
mig-configs:
  all-disabled:
    - {devices: all, mig-enabled: false}
  all-1g.5gb:
    - device-filter: ["0x20B010DE", "0x20B110DE"]
      devices: all
      mig-enabled: true
      mig-devices: {"1g.5gb": 7}
  all-balanced:
    - device-filter: ["0x20B010DE"]
      devices: all
      mig-enabled: true
      mig-devices: {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}
    - device-filter: "0x20B710DE"
      devices: all
      mig-enabled: true
      mig-devices: {"1g.6gb": 2, "2g.12gb": 1}
  custom:
    - {devices: [0], mig-enabled: true, mig-devices: ["3g.20gb@4", "1g.5gb*2"]}
  shared:
    - {devices: [0], mig-enabled: true, mig-devices: {"1c.3g.20gb": 3}}
"""


class Node:
    """One lasting node and hamictl on it."""

    def __init__(self, hamictl, state):
        self.hamictl = hamictl
        self.state = state

    def run(self, *words):
        return self.hamictl.run("--sim", self.state, *words)

    def change(self, *words, code=0):
        document = self.hamictl.document("--sim", self.state, "mig", *words, code=code)
        if document["kind"] == "MigChange":
            jsonschema.validate(document, SCHEMA)
        return document

    def layout(self, gpu=0):
        found = self.hamictl.document("--sim", self.state, "mig", "list")["instances"]
        return sorted((i["profile"], i["start"]) for i in found if i["gpu"] == gpu)

    def hold(self, number=0):
        uuid = self.hamictl.document("--sim", self.state, "mig", "list")["instances"][number]["migUUID"]
        words = ("sim", "process", "start", "--instance", uuid, "--memory", "100")
        return self.hamictl.document("--sim", self.state, *words)["pid"]


@pytest.fixture
def a100(hamictl, node):
    return Node(hamictl, node("1xA100-SXM4-40GB"))


@pytest.fixture
def mixed(hamictl, node):
    return Node(hamictl, node("1xA100-SXM4-40GB,1xA30"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mig-parted.yaml"
    path.write_text(BALANCED)
    return path


def test_a_request_is_realised_held_and_released(a100):
    """Command apply makes exactly what plan shows and claims it; release gives it back."""
    done = a100.change("apply", "--mem", "8000", "--count", "2", "--name", "training", "--yes")
    assert done["applied"]["claim"] == "training"
    assert a100.layout() == [("2g.10gb", 0), ("2g.10gb", 2)]
    listed = a100.hamictl.document("--sim", a100.state, "mig", "list")["instances"]
    assert all(instance["used"] for instance in listed)
    assert a100.run("mig", "release", "--name", "training", "--yes").exit_code == 0
    assert a100.layout() == []


def test_a_claim_keeps_its_instances_from_being_destroyed(a100):
    """What a claim holds blocks clear and disable with exit code 7, and nothing changes."""
    a100.change("apply", "--mem", "8000", "--name", "x", "--yes")
    before = a100.layout()
    for words in (("clear", "-i", "0"), ("disable", "-i", "0"), ("apply", "--layout", "0=7g.40gb")):
        blocked = a100.change(*words, "--yes", code=7)
        assert blocked["blocked"] is True
        assert blocked["applied"] is None
    assert a100.layout() == before


def test_a_layout_changes_only_what_must_change(a100):
    """From 3g+2g to 3g+1g+1g: the 3g stays, the 2g goes, two are made."""
    a100.change("apply", "--layout", "0=3g.20gb@4,2g.10gb@0", "--yes")
    uuid = {i["profile"]: i["migUUID"] for i in a100.hamictl.document("--sim", a100.state, "mig", "list")["instances"]}
    changed = a100.change("apply", "--layout", "0=3g.20gb@4,1g.5gb*2", "--yes")
    kinds = sorted(step["step"] for step in changed["applied"]["done"])
    assert kinds.count("DestroyInstance") == 1
    assert kinds.count("CreateInstance") == 2
    left = {i["profile"]: i["migUUID"] for i in a100.hamictl.document("--sim", a100.state, "mig", "list")["instances"]}
    assert left["3g.20gb"] == uuid["3g.20gb"]


def test_an_instance_in_use_blocks_with_its_holder(a100):
    """A process on an instance: exit code 7, the holder named, and what can be reached now."""
    a100.change("apply", "--layout", "0=2g.10gb@0", "--yes")
    pid = a100.hold()
    blocked = a100.change("apply", "--layout", "0=7g.40gb", "--yes", code=7)
    assert blocked["gpus"][0]["blocked"][0]["holders"][0]["pid"] == pid
    page = a100.run("mig", "apply", "--layout", "0=7g.40gb", "--dry-run")
    assert page.exit_code == 7
    assert str(pid) in page.stdout
    assert a100.layout() == [("2g.10gb", 0)]


def test_a_template_is_realised_whole(a100):
    """--template 1 makes the whole geometry, without a claim."""
    a100.change("apply", "--template", "1", "-i", "0", "--yes")
    assert [profile for profile, _ in a100.layout()] == ["1g.5gb", "2g.10gb", "2g.10gb", "2g.10gb"]
    assert a100.run("mig", "clear", "-i", "0", "--yes").exit_code == 0
    assert a100.layout() == []


@pytest.mark.parametrize("name", ["all-balanced", "all-1g.5gb", "custom", "all-disabled"])
def test_mig_parted_files_are_applied_checked_and_exported_back(mixed, file, name, tmp_path):
    """Apply, then check is 0, and each exported form applied back changes nothing."""
    assert mixed.run("mig", "check", "-f", file, "-c", "all-balanced").exit_code == 3
    assert mixed.run("mig", "apply", "-f", file, "-c", name, "--yes").exit_code == 0
    assert mixed.run("mig", "check", "-f", file, "-c", name).exit_code == 0
    for form in ("mig-parted", "yaml", "json"):
        exported = mixed.run("mig", "export", "-o", form)
        assert exported.exit_code == 0
        assert yaml.safe_load(exported.stdout)["version"] == "v1"
        back = tmp_path / f"back.{form}"
        back.write_text(exported.stdout)
        assert mixed.change("apply", "-f", back, "--yes")["steps"] == []


def test_profiles_that_share_an_instance_are_refused_by_name(mixed, file):
    """1c.3g.20gb is exit code 2 with its name."""
    result = mixed.run("mig", "apply", "-f", file, "-c", "shared", "--yes")
    assert result.exit_code == 2
    assert "1c.3g.20gb" in result.stderr


def test_mode_commands_switch_and_say_so(a100):
    """Commands enable and disable change the mode, twice is nothing to do."""
    assert [s["step"] for s in a100.change("enable", "-i", "0", "--yes")["applied"]["done"]] == ["SetMigMode"]
    assert a100.change("enable", "-i", "0", "--yes")["steps"] == []
    a100.change("apply", "--layout", "0=1g.5gb*3", "--yes")
    assert len(a100.change("disable", "-i", "0", "--yes")["applied"]["done"]) == 4


def test_without_a_terminal_nothing_changes_unless_yes_is_said(a100):
    """The plan is shown, then exit code 2 and how to go on."""
    result = a100.run("mig", "enable", "-i", "0")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert a100.change("enable", "-i", "0", "--dry-run")["steps"]


def test_a_saved_plan_applies_once(a100, tmp_path):
    """--out saves and changes nothing; the plan applies to the same state and is refused as stale afterwards."""
    plan = tmp_path / "plan.json"
    assert a100.run("mig", "apply", "--mem", "8000", "--name", "later", "--out", plan).exit_code == 0
    assert a100.layout() == []
    assert a100.change("apply", plan, "--yes")["applied"]["claim"] == "later"
    again = a100.run("mig", "apply", plan, "--yes")
    assert again.exit_code == 7
    assert len(a100.layout()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("apply",),
        ("apply", "--mem", "8000", "--layout", "0=1g.5gb"),
        ("apply", "--mem", "8000", "--name", ""),
        ("apply", "--mem", "8000", "--name", "two words"),
        ("apply", "--layout", "1g.5gb"),
        ("apply", "--layout", "9=1g.5gb"),
        ("apply", "--layout", "0=9g.5gb"),
        ("apply", "--layout", "0=1g.5gb*8"),
        ("apply", "--layout", "0=2g.10gb@1"),
        ("apply", "--template", "1"),
        ("apply", "--template", "9", "-i", "0"),
        ("apply", "-f", "/nonexistent"),
        ("apply", "/nonexistent"),
        ("clear",),
        ("check",),
        ("list", "-o", "mig-parted"),
    ],
)
def test_bad_changes_are_exit_code_2_and_change_nothing(a100, words):
    """Every wrong argument is refused before anything is touched."""
    result = a100.run("mig", *words, *(["--yes"] if words[0] in {"apply", "clear"} else []))
    assert result.exit_code == 2, result.output
    assert a100.layout() == []


def test_a_failing_driver_call_is_rolled_back_and_named(a100):
    """The second create fails: the first is taken back, the error names call and NVML code."""
    a100.change("enable", "-i", "0", "--yes")
    a100.hamictl.run("sim", "inject", "fault", "nvmlDeviceCreateGpuInstance*#2=error:23", "--state", a100.state)
    result = a100.run("mig", "apply", "--layout", "0=2g.10gb@0,2g.10gb@2", "--yes")
    assert result.exit_code == 1
    assert "nvmlDeviceCreateGpuInstance" in result.stderr
    assert "23" in result.stderr
    assert a100.layout() == []


def test_care_answers_are_what_their_schemas_promise(a100):
    """Release, repair and restore, dry and done, validate against docs/json and say that the node is simulated."""
    a100.change("apply", "--mem", "8000", "--name", "kept", "--yes")
    uuid = a100.hamictl.document("--sim", a100.state, "mig", "list")["instances"][0]["migUUID"]
    a100.hamictl.run("sim", "inject", "reboot", "--state", a100.state)
    for words in (
        ("repair", "--dry-run"),
        ("restore", "--dry-run"),
        ("restore", "--yes"),
        ("repair", "--yes"),
        ("release", "--name", "kept", "--dry-run"),
        ("release", "--instance", uuid, "--yes"),
    ):
        document = a100.change(*words)
        schema = json.loads((SCHEMA_FOLDER / f"{document['kind']}.schema.json").read_text())
        jsonschema.validate(document, schema)
        assert document["simulated"] is True
    assert a100.layout() == []


def test_a_dry_restore_shows_what_is_missing_and_makes_nothing(a100):
    """After a reboot the preview names the claim and no instance; nothing has been made."""
    a100.change("apply", "--mem", "8000", "--name", "kept", "--yes")
    a100.hamictl.run("sim", "inject", "reboot", "--state", a100.state)
    (found,) = a100.change("restore", "--dry-run")["instances"]
    assert (found["claim"], found["now"]) == ("kept", None)
    assert a100.layout() == []


@pytest.mark.parametrize("words", [("--name", "nobody"), ("--instance", "MIG-none")])
def test_an_unknown_release_is_refused_before_it_is_confirmed(a100, words):
    """Exit code 2 with what there is, also for a dry run."""
    assert a100.run("mig", "release", *words, "--dry-run").exit_code == 2
    assert a100.run("mig", "release", *words).exit_code == 2


def test_repair_shows_then_mends(a100):
    """On a clean node there is nothing to repair, and it says so."""
    result = a100.run("mig", "repair", "--yes")
    assert result.exit_code == 0


def test_restore_brings_a_claim_back_after_a_reboot(a100):
    """Instances die with the boot; restore makes the claim's again at the recorded place."""
    a100.change("apply", "--mem", "8000", "--name", "kept", "--yes")
    before = a100.layout()
    a100.hamictl.run("sim", "inject", "reboot", "--state", a100.state)
    assert a100.layout() == []
    assert a100.run("mig", "restore", "--yes").exit_code == 0
    assert a100.layout() == before


@pytest.mark.parametrize("damage", ["corrupt", "lost", "newer"])
def test_a_ledger_that_cannot_be_trusted_is_shown_before_it_is_made_anew(hamictl, node, damage):
    """A dry run leaves every file as it is; then the old one is kept aside, and what is there shows as unexplained."""
    state = node("1xA30")
    for words in (["mig", "enable", "-i", "0", "--yes"], ["mig", "apply", "--layout", "0=1g.6gb", "--yes"]):
        assert hamictl.run("--sim", state, *words).exit_code == 0
    ledger = lifecycle.root_of(state) / "var/lib/hami/ledger.db"
    if damage == "lost":
        ledger.unlink()
    elif damage == "newer":
        with contextlib.closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute("UPDATE meta SET value = '1000' WHERE key = 'opens_from'")
            connection.execute("PRAGMA user_version = 1000")
    else:
        ledger.write_bytes(b"no ledger at all" * 1000)
    before = {path.name: path.read_bytes() for path in ledger.parent.iterdir()}
    shown = hamictl.document("--sim", state, "mig", "repair", "--dry-run")["findings"]
    assert [(each["what"], each["mends"]) for each in shown] == [("ledger", True)]
    assert damage in shown[0]["text"]
    assert {path.name: path.read_bytes() for path in ledger.parent.iterdir()} == before
    assert hamictl.run("--sim", state, "mig", "repair", "--yes").exit_code == 0
    assert damage == "lost" or list(ledger.parent.glob(f"ledger.db.{damage}-*"))
    left = hamictl.document("--sim", state, "mig", "repair", "--dry-run")["findings"]
    assert [each["what"] for each in left] == ["unexplained"]
