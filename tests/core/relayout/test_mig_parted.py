# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hamid.core.errors import UsageError
from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import LayoutItem, Seat, parse_layout
from hamid.core.hardware.gpu import Health, Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.located import ConfigError
from hamid.core.relayout.change import GpuTarget, differs, plan_change
from hamid.core.relayout.mig_parted import choose, export, parse_configs, targets, unmatched
from hamid.node.config.yaml import read_marked
from hamid.testing.boards import board_data, gpu_of, known_boards

# Written in the manner of the files that NVIDIA ships: many boards, filters, comments, flow and block lists.
FIELD = """
version: v1
mig-configs:
  all-disabled:
    - devices: all
      mig-enabled: false

  all-enabled:
    - devices: all
      mig-enabled: true
      mig-devices: {}

  # A100-40GB
  all-1g.5gb:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 7

  all-balanced:
    # H100, A100-80GB
    - device-filter: ["0x233010DE", "0x20B210DE"]
      devices: all
      mig-enabled: true
      mig-devices:
        "1g.10gb": 2
        "2g.20gb": 1
        "3g.40gb": 1
    # A100-40GB
    - device-filter: ["0x20B010DE", "0x20F110DE"]
      devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 2
        "2g.10gb": 1
        "3g.20gb": 1
    # A30-24GB
    - device-filter: "0x20b710de"
      devices: all
      mig-enabled: true
      mig-devices: {"1g.6gb": 2, "2g.12gb": 1}

  custom:
    - devices: [0]
      mig-enabled: false
    - devices: [1, 7]
      mig-enabled: true
      mig-devices: {"3g.20gb": 2}
    - devices: []
      mig-enabled: true
      mig-devices: {"9g.99gb": 1}

  placed:
    - devices: [0]
      mig-enabled: true
      mig-devices: ["3g.20gb@4", "1g.5gb*2"]

  all-1g.24gb.me.all:
    - devices: all
      mig-enabled: true
      mig-devices: {"1g.24gb+me.all": 1, "1g.24gb-me": 2, "1g.24gb+gfx": 1}

  shared:
    - device-filter: "0x20B010DE"
      devices: all
      mig-enabled: true
      mig-devices: {"1c.3g.20gb": 3, "3c.3g.20gb": 1}
"""


@pytest.fixture
def read(tmp_path):
    def parse(text):
        path = tmp_path / "mig.yaml"
        path.write_text(text)
        return parse_configs(read_marked(str(path)), str(path))

    return parse


@pytest.fixture
def chosen(read):
    def entries(name, text=FIELD):
        return choose(read(text), name, "mig.yaml")

    return entries


def gpu(board, index=0, **changes):
    product = board_data()[board]["nvml"][0]
    return replace(gpu_of(board, index=index), pci_device_id=product["pci_device_id"], **changes)


def node(*boards):
    return Snapshot(gpus=tuple(gpu(board, index) for index, board in enumerate(boards)))


def names(target):
    return [item.profile for item in target.layout]


def test_all_disabled_and_all_enabled(chosen):
    """GPUs of every board: mode off without instances, or mode on with none."""
    snapshot = node("A100-40GB", "A30-24GB")
    assert targets(chosen("all-disabled"), snapshot) == tuple(
        GpuTarget(gpu_index=index, mig_enabled=False, layout=()) for index in (0, 1)
    )
    assert targets(chosen("all-enabled"), snapshot)[1] == GpuTarget(gpu_index=1, mig_enabled=True, layout=())


def test_a_profile_that_a_gpu_lacks_is_named(chosen):
    """`all-1g.5gb` fits an A100-40GB; on an A30 the error says GPU, profile, legal names and where it stands."""
    assert names(targets(chosen("all-1g.5gb"), node("A100-40GB"))[0]) == ["1g.5gb"] * 7
    with pytest.raises(ConfigError) as caught:
        targets(chosen("all-1g.5gb"), node("A100-40GB", "A30-24GB"))
    (problem,) = caught.value.problems
    assert problem.message == "GPU 1 (NVIDIA A30) has no profile '1g.5gb'"
    assert "1g.6gb, 1g.6gb+me" in problem.hint
    assert problem.key == "mig-configs.all-1g.5gb[0].mig-devices"
    assert FIELD.splitlines()[problem.line - 1].strip() == "- devices: all"


def test_filters_choose_the_entry_for_each_board(chosen):
    """One configuration serves three boards; a board that no filter names is left alone, with a warning."""
    snapshot = node("A100-40GB", "A30-24GB", "H100-80GB-SXM5", "H200-141GB")
    specs = chosen("all-balanced")
    made = {target.gpu_index: names(target) for target in targets(specs, snapshot)}
    assert made == {
        0: ["1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb"],
        1: ["1g.6gb", "1g.6gb", "2g.12gb"],
        2: ["1g.10gb", "1g.10gb", "2g.20gb", "3g.40gb"],
    }
    assert not plan_change(snapshot, targets(specs, snapshot)).blocked
    assert unmatched(specs, snapshot) == ("the configuration does not mention GPU 3 (NVIDIA H200); it stays unchanged",)


def test_custom_entries_name_gpus_by_index(chosen):
    """Indices that the node lacks are passed over, and an entry for no GPU is not judged."""
    made = targets(chosen("custom"), node("A100-40GB", "A100-40GB", "A100-40GB"))
    assert [(target.gpu_index, names(target)) for target in made] == [(0, []), (1, ["3g.20gb", "3g.20gb"])]


def test_our_extension_places(chosen):
    """A list of layout items says where instances lie."""
    (target,) = targets(chosen("placed"), node("A100-40GB"))
    assert target.layout == parse_layout("3g.20gb@4,1g.5gb*2")


def test_suffixes_of_the_newest_boards(chosen):
    """`+me.all`, `-me` and `+gfx` are profiles like any other."""
    (target,) = targets(chosen("all-1g.24gb.me.all"), node("RTX-PRO-6000-Blackwell-96GB"))
    assert names(target) == ["1g.24gb+me.all", "1g.24gb-me", "1g.24gb-me", "1g.24gb+gfx"]


def test_the_last_entry_that_names_a_gpu_decides(chosen):
    """mig-parted walks the entries in order and applies each, so the last one remains."""
    text = """
version: v1
mig-configs:
  only:
    - {devices: all, mig-enabled: true, mig-devices: {"1g.6gb": 1}}
    - {devices: [0], mig-enabled: true, mig-devices: {"7g.40gb": 1}}
"""
    (target,) = targets(chosen(None, text), node("A100-40GB"))
    assert names(target) == ["7g.40gb"]


def test_profiles_that_share_an_instance_are_refused_by_name(chosen):
    """`1c.3g.20gb` divides an instance and is refused; `3c.3g.20gb` is the whole of it; other boards do not care."""
    specs = chosen("shared")
    assert specs[0].layout == (LayoutItem("3g.20gb"),)
    with pytest.raises(UsageError, match=r"1c\.3g\.20gb shares a GPU instance.*request 3g\.20gb"):
        targets(specs, node("A100-40GB"))
    assert targets(specs, node("A30-24GB")) == ()


@pytest.mark.parametrize(
    "text", ["0x20B010DE", "[0x20b010de, 1]", '"548409566"', '"0x20B010DE:0x134F10DE"', '""', "[]"]
)
def test_filters_in_every_spelling(chosen, text):
    """Quoted, bare, as a number, with a subsystem; an empty one names every board."""
    specs = chosen(
        None, f"{{version: v1, mig-configs: {{a: [{{device-filter: {text}, devices: all, mig-enabled: no}}]}}}}"
    )
    a100 = gpu("A100-40GB", pci_subsystem_id="0x134F10DE")
    assert len(targets(specs, Snapshot(gpus=(a100,)))) == 1
    other = targets(specs, Snapshot(gpus=(replace(a100, pci_device_id="0x20B710DE"),)))
    assert len(other) == (text in {'""', "[]"})
    nameless = targets(specs, Snapshot(gpus=(replace(a100, pci_device_id=None, pci_subsystem_id=None),)))
    assert len(nameless) == len(other)
    sister = targets(specs, Snapshot(gpus=(replace(a100, pci_subsystem_id="0x000010DE"),)))
    assert len(sister) == (":" not in text)


def test_a_configuration_is_chosen_by_name(read):
    """The name may be left out where there is one; otherwise the error lists the names."""
    configs = read(FIELD)
    assert choose({"one": configs["custom"]}, None, "f") == configs["custom"]
    with pytest.raises(UsageError) as caught:
        choose(configs, None, "f")
    assert "all-disabled, all-enabled, all-1g.5gb" in caught.value.hint
    with pytest.raises(UsageError, match="no configuration 'custm'") as caught:
        choose(configs, "custm", "f")
    assert "custom" in caught.value.hint


def entry(text):
    return f"version: v1\nmig-configs:\n  a:\n    - {text}\n"


HEAD = "devices: all, mig-enabled: true"
HOSTILE = [
    ("", "document: is nothing"),
    ("[]", "document: is a list"),
    ("version: v1", "mig-configs: is missing"),
    ("version: v1\nmig-configs: {}", "has no configuration"),
    ("version: v1\nmig-configs: []", "mig-configs: is a list"),
    ("version: v1\nmig-configs: {a: []}", "mig-configs.a: is an empty list"),
    ("version: v1\nmig-configs: {a: {devices: all}}", "mig-configs.a: is a mapping, not a list"),
    ("mig-configs: {a: [{devices: all, mig-enabled: false}]}", "version: is missing (must be v1)"),
    ("version: v2\nmig-configs: {a: [{devices: all, mig-enabled: false}]}", "version: is v2 (must be v1)"),
    ("version: [v1]\nmig-configs: {a: [{devices: all, mig-enabled: false}]}", "version: is a list"),
    ("version: v1\nhooks: {}\nmig-configs: {a: [{devices: all, mig-enabled: false}]}", "hooks: unknown key"),
    (entry("x"), "mig-configs.a[0]: is text, not a mapping"),
    (entry("{devices: all}"), "mig-enabled: is missing"),
    (entry("{mig-enabled: false}"), "devices: is missing"),
    (entry("{devices: all, mig-enabled: false, mig-device: {}}"), "mig-device: unknown key"),
    (entry('{devices: all, mig-enabled: "true", mig-devices: {}}'), "mig-enabled: is text (true)"),
    (entry(f"{{{HEAD}}}"), "mig-devices: is missing"),
    (entry(f"{{{HEAD}, mig-devices: null}}"), "mig-devices: is missing"),
    (entry('{devices: all, mig-enabled: false, mig-devices: {"1g.5gb": 1}}'), "mig-enabled is not true"),
    (entry("{devices: some, mig-enabled: false}"), "devices: is text (some)"),
    (entry("{devices: [0, -1], mig-enabled: false}"), "devices[1]: is -1"),
    (entry("{devices: [true], mig-enabled: false}"), "devices[0]: is true or false"),
    (entry("{devices: [[0]], mig-enabled: false}"), "devices[0]: is a list"),
    (entry("{devices: {}, mig-enabled: false}"), "devices: is a mapping"),
    (entry("{device-filter: A100, devices: all, mig-enabled: false}"), "device-filter: is A100"),
    (entry("{device-filter: [{}], devices: all, mig-enabled: false}"), "device-filter[0]: is a mapping"),
    (entry("{device-filter: {a: 1}, devices: all, mig-enabled: false}"), "device-filter: is a mapping"),
    (entry("{device-filter: yes, devices: all, mig-enabled: false}"), "device-filter: is True"),
    (entry('{device-filter: "0x1:0x2:0x3", devices: all, mig-enabled: false}'), "device-filter: is 0x1:0x2:0x3"),
    (entry('{device-filter: "0x123456789", devices: all, mig-enabled: false}'), "device-filter: is 0x123456789"),
    (entry(f"{{{HEAD}, mig-devices: 7}}"), "mig-devices: is a number"),
    (entry(f'{{{HEAD}, mig-devices: {{"1g.5gb": -1}}}}'), "1g.5gb: is -1"),
    (entry(f'{{{HEAD}, mig-devices: {{"1g.5gb": 1000000000}}}}'), "1g.5gb: is 1000000000"),
    (entry(f'{{{HEAD}, mig-devices: {{"1g.5gb": 1.5}}}}'), "1g.5gb: is a decimal number"),
    (entry(f'{{{HEAD}, mig-devices: {{"1g.5gb": 0}}}}'), "has only zero counts"),
    (entry(f'{{{HEAD}, mig-devices: {{"1g.5gb": 64, "2g.10gb": 1}}}}'), "more than 64 instances"),
    (entry(f'{{{HEAD}, mig-devices: {{"1g.5gb@0": 1}}}}'), "'1g.5gb@0' is not a profile name"),
    (entry(f'{{{HEAD}, mig-devices: {{"1g.5GB": 1}}}}'), "'1g.5GB' is not a profile name"),
    (entry(f'{{{HEAD}, mig-devices: {{"1c.": 1}}}}'), "'1c.' is not a profile name"),
    (entry(f"{{{HEAD}, mig-devices: [1g.5gb@9999]}}"), "mig-devices[0]: is 1g.5gb@9999"),
    (entry(f"{{{HEAD}, mig-devices: [1g.5gb*0]}}"), "mig-devices[0]: counts 0"),
    (entry(f'{{{HEAD}, mig-devices: ["1g.5gb,1g.5gb"]}}'), "mig-devices[0]: is 1g.5gb,1g.5gb"),
    (entry(f"{{{HEAD}, mig-devices: [{{}}]}}"), "mig-devices[0]: is a mapping"),
    (entry(f"{{{HEAD}, mig-devices: [one]}}"), "'one' is not a profile name"),
]


@pytest.mark.parametrize(("text", "words"), HOSTILE)
def test_hostile_files_are_refused_with_the_place(read, text, words):
    """Wrong types, numbers, names and shapes: a ConfigError that names path, line and key, never a crash."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert words in caught.value.message
    assert all(problem.line >= 1 and problem.path.endswith("mig.yaml") for problem in caught.value.problems)
    assert len(caught.value.message) < 600


def test_every_problem_of_a_file_is_told_at_once(read):
    """Three mistakes in two configurations are three problems, in the order of the file."""
    text = """version: v3
mig-configs:
  a:
    - {devices: none, mig-enabled: false}
  b:
    - devices: all
      mig-enabled: true
      mig-devices: {"5x": 1}
"""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert [problem.line for problem in caught.value.problems] == [1, 4, 8]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["all", "1g.5gb", "0x20B010DE"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["devices", "mig-enabled", "mig-devices", "device-filter", "1g.5gb", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)  # most documents are refused at their first key
@given(entries=st.lists(JSON_VALUES, max_size=3))
def test_no_document_crashes_the_reader(tmp_path_factory, entries):
    """Any JSON in place of the entries is a configuration or a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({"version": "v1", "mig-configs": {"a": entries}}))
    try:
        configs = parse_configs(read_marked(str(path)), str(path))
    except ConfigError:
        return
    assert len(configs["a"]) == len(entries)


@st.composite
def nodes(draw):
    """Up to four GPUs, some of a board, with random legal instances, modes and health."""
    gpus = []
    boards = [board for board in known_boards() if board_data()[board].get("nvml")]
    for index, name in enumerate(draw(st.lists(st.sampled_from(["A100-40GB", *boards]), min_size=1, max_size=4))):
        mode = draw(st.sampled_from([True, True, False]))
        made = gpu(name, index, mig_enabled=mode, mig_pending=mode)
        board = board_of(made.profiles)
        occupied, instances = board.empty, []
        for profile in draw(st.lists(st.sampled_from(board.profiles), max_size=5)) if mode else []:
            for place in board.free_placements(occupied, profile)[-1:]:
                occupied = board.add(occupied, Seat(profile, place))
                instances.append(
                    Instance(
                        profile=profile.name,
                        profile_id=profile.profile_id,
                        memory_mib=profile.memory_mib,
                        placement=place,
                        gi_id=place.start,
                        compute_instances=draw(st.sampled_from([1, 1, 2, 3])),
                        used=draw(st.booleans()),
                    )
                )
        gpus.append(replace(made, instances=tuple(instances)))
    return Snapshot(gpus=tuple(gpus))


@given(nodes(), st.booleans())
def test_what_is_exported_applies_back_without_a_change(tmp_path_factory, snapshot, placements):
    """Through YAML and through JSON, with counts and with placements: every GPU is named and nothing is left to do."""
    document = export(snapshot, name="now", placements=placements)
    path = tmp_path_factory.getbasetemp() / "exported"
    for text in (yaml.safe_dump(document, sort_keys=False), json.dumps(document)):
        path.write_text(text)
        specs = choose(parse_configs(read_marked(str(path)), str(path)), None, str(path))
        made = targets(specs, snapshot)
        assert not differs(plan_change(snapshot, made))
        assert unmatched(specs, snapshot) == ()
        assert all(target.mig_enabled is gpu.mig_enabled for target, gpu in zip(made, snapshot.gpus, strict=True))


def entries(document, name="current"):
    return document["mig-configs"][name]


def test_export_is_short_where_gpus_are_alike():
    """Alike GPUs share an entry, several boards get filters, one entry for all needs neither list nor filter."""
    all_alike = entries(export(node("A100-40GB", "A100-40GB")))
    assert all_alike == [{"devices": "all", "mig-enabled": True, "mig-devices": {}}]
    assert entries(export(node("A100-40GB", "A30-24GB", "A100-40GB"), name="x"), "x") == [
        {"device-filter": "0x20B010DE", "devices": [0, 2], "mig-enabled": True, "mig-devices": {}},
        {"device-filter": "0x20B710DE", "devices": [1], "mig-enabled": True, "mig-devices": {}},
    ]


def test_export_leaves_out_what_is_not_whole():
    """Lost GPUs and half-made instances are no configuration."""
    whole, lost = node("A100-40GB", "A100-40GB").gpus
    profile = whole.profiles[0]
    half_made = Instance(
        profile=profile.name, profile_id=profile.profile_id, memory_mib=1, placement=profile.placements[0], gi_id=1
    )
    snapshot = Snapshot(gpus=(replace(whole, instances=(half_made,)), replace(lost, health=Health.LOST)))
    assert entries(export(snapshot)) == [{"devices": [0], "mig-enabled": True, "mig-devices": {}}]
