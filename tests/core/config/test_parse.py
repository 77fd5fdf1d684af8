# SPDX-License-Identifier: Apache-2.0
"""Configuration files become values or problems that name file, line and key."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, fields
from support.located import source

from hamid.core.config.config import BY_NAME, RESOURCE_KEYS, SETTINGS, Config, Mode, PodsSource
from hamid.core.config.difference import compare, document, within_reach
from hamid.core.config.parse import parse
from hamid.core.config.setting import TakesEffect
from hamid.core.located import ConfigError
from hamid.core.planner.templates import TemplateTable
from hamid.node.config.files import read_config, signature
from hamid.node.paths import Paths


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc/hami"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def read(tmp_path):
    return lambda **environment: read_config(Paths(str(tmp_path)), {"NODE_NAME": "n1", **environment})


def refused(read):
    with pytest.raises(ConfigError) as caught:
        read()
    return [str(each) for each in caught.value.problems]


def test_every_field_is_a_setting_with_a_text_and_sound_limits():
    """A field of Config without a Setting cannot be set, shown or documented; defaults lie within their limits."""
    assert [each.name for each in SETTINGS] == [each.name for each in fields(Config) if each.name != "templates"]
    assert len(BY_NAME) == len(SETTINGS)
    assert len(RESOURCE_KEYS) == len(fields(Config().resources))
    for each in SETTINGS:
        assert each.text
        assert not each.high or not isinstance(each.default, int | float) or each.low <= each.default <= each.high


def test_without_files_the_defaults_hold(read):
    """They are HAMi's."""
    found = read()
    assert found.origins == {}
    assert document(found.config) == {**document(Config()), "node_name": "n1"}


def test_later_sources_win(etc, read):
    """device-config.yaml, then the node's entry in config.json, then hamid.yaml, then drop-ins by name."""
    (etc / "device-config.yaml").write_text(
        "nvidia:\n  deviceSplitCount: 2\n  defaultMemory: 5\n  deviceMemoryScaling: 1.5\n  libCudaLogLevel: '3'\n"
    )
    entries = '{"name": "other", "devicesplitcount": 99}, {"name": "n1", "devicesplitcount": 3, "operatingmode": "mig"}'
    (etc / "config.json").write_text(f'{{"nodeconfig": [{entries}]}}')
    assert (read().config.split_count, read().config.mode) == (3, Mode.MIG)
    (etc / "hamid.yaml").write_text("split_count: 4\nmode: hami-core\n")
    (etc / "hamid.yaml.d").mkdir()
    (etc / "hamid.yaml.d/20-b.yaml").write_text("split_count: 6\n")
    (etc / "hamid.yaml.d/10-a.yaml").write_text("split_count: 5\nmemory_factor: 2\n")
    (etc / "hamid.yaml.d/.hidden.yaml").write_text("split_count: 7\n")
    found = read()
    config = found.config
    assert (config.split_count, config.memory_factor, config.mode) == (6, 2, Mode.HAMI_CORE)
    assert (config.default_memory_mib, config.memory_scaling, config.cuda_log_level) == (5, 1.5, 3)
    assert str(found.origins["split_count"]).endswith("20-b.yaml:1")
    assert str(found.origins["memory_scaling"]).endswith("device-config.yaml:4")


def test_the_node_is_named_by_its_own_file_first(etc, read):
    """The name decides which entry of config.json counts."""
    (etc / "hamid.yaml").write_text("node_name: n2\n")
    (etc / "config.json").write_text(
        '{"nodeconfig": [{"name": "n2", "filterdevices": {"index": [1], "uuid": ["GPU-a"]}}]}'
    )
    config = read().config
    assert (config.node_name, config.filter_indexes, config.filter_uuids) == ("n2", (1,), ("GPU-a",))


def test_hamis_files_may_have_keys_that_are_not_ours(etc, read):
    """Other vendors' sections and the scheduler's keys are passed over; unknown ones are noted."""
    (etc / "device-config.yaml").write_text("metax: {x: 1}\nnvidia:\n  overwriteEnv: false\n  somethingNew: 1\n")
    notes = read().notes
    assert any("somethingNew" in each for each in notes)
    assert not any("metax" in each for each in notes)


def test_resource_names_come_from_hami_too(etc, read):
    """A cluster with names of its own is served under them."""
    (etc / "device-config.yaml").write_text("nvidia: {resourceCountName: acme.com/gpu}\n")
    resources = read().config.resources
    assert (resources.count, resources.memory) == ("acme.com/gpu", "nvidia.com/gpumem")


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("mod: mig", "hamid.yaml:1: mod", "did you mean mode?"),
        ("mode: MIG", "hamid.yaml:1: mode", "one of hami-core, mig, mps"),
        ("\nsplit_count: 0", "hamid.yaml:2: split_count", "from 1 to 1000"),
        ("split_count: true", "hamid.yaml:1: split_count", "not a number"),
        ("split_count: '3x'", "hamid.yaml:1: split_count", "not a number"),
        ("memory_scaling: .nan", "hamid.yaml:1: memory_scaling", "a number from"),
        ("reconcile_seconds: 6", "hamid.yaml:1: reconcile_seconds", "to 5"),
        ("absent_seconds: 1", "hamid.yaml:1: absent_seconds", "from 30"),
        ("health_checks: yes please", "hamid.yaml:1: health_checks", "true or false"),
        ("filter_uuids: GPU-1", "hamid.yaml:1: filter_uuids", "not a list"),
        ("filter_indexes: [1, a]", "hamid.yaml:1: filter_indexes[1]", "not a number"),
        ("gpu_modes: {0: fast}", "hamid.yaml:1: gpu_modes.0", "one of"),
        ("gpu_modes: {gpu0: mig}", "hamid.yaml:1: gpu_modes.gpu0", "not a GPU"),
        ("mode: off", "hamid.yaml:1: mode", "is False (one of"),
        ("split_count: 0x" + "f" * 50_000, "hamid.yaml:1: split_count", "a number of 200000 bits"),
        ("memory_scaling: 0x" + "f" * 50_000, "hamid.yaml:1: memory_scaling", "a number of 200000 bits"),
        ('"a\\nb\\e[2Jc": 1', "hamid.yaml:1: a\\nb\\x1b[2Jc", "unknown setting"),
        ('mode: "\\e]0;x"', "hamid.yaml:1: mode", "is \\x1b]0;x"),
        ("resources: {gpu: x}", "hamid.yaml:1: resources.gpu", "unknown resource"),
        ("resources: {count: gpu}", "hamid.yaml:1: resources.count", "extended resource"),
        ("resources: {count: a/b, memory: a/b}", "hamid.yaml:1: resources", "the same name"),
        ("hook_path: usr/local", "hamid.yaml:1: hook_path", "absolute"),
        ("metrics_address: 9394", "hamid.yaml:1: metrics_address", "not printable text"),
        ("metrics_address: ':9394'", "hamid.yaml:1: metrics_address", "HOST:PORT"),
        ("pods_source: file", "hamid.yaml:1: pods_source", "pods_file is not set"),
        ("pods_source: kubelet\nkubelet_url: ftp://x", "hamid.yaml:2: kubelet_url", "not an http"),
        ("[]", "hamid.yaml:1: document", "not a mapping"),
        ("mode: mig\nmode: mps", "hamid.yaml:2: mode", "duplicate key"),
        ("{", "hamid.yaml:", "not valid YAML"),
    ],
)
def test_problems_name_file_line_and_key(etc, read, text, where, what):
    """Each is told where it stands and what would be right."""
    (etc / "hamid.yaml").write_text(text)
    problems = refused(read)
    assert any(where in each and what in each for each in problems), problems


def test_mappings_are_taken_together_over_files(etc, read):
    """A drop-in for one GPU leaves the other's mode alone; a resource renamed there leaves HAMi's other names alone."""
    (etc / "device-config.yaml").write_text(
        "nvidia: {resourceMemoryName: acme.com/mem, resourceCountName: acme.com/x}\n"
    )
    (etc / "hamid.yaml").write_text("gpu_modes: {0: mig, 1: mps}\n")
    (etc / "hamid.yaml.d").mkdir()
    (etc / "hamid.yaml.d/a.yaml").write_text("gpu_modes: {1: hami-core}\nresources: {count: acme.com/gpu}\n")
    config = read().config
    assert dict(config.gpu_modes) == {"0": Mode.MIG, "1": Mode.HAMI_CORE}
    assert (config.resources.count, config.resources.memory) == ("acme.com/gpu", "acme.com/mem")


def test_the_bare_words_on_and_off_are_words(etc, read):
    """YAML reads them as true and false; where they are legal words they mean themselves."""
    for word in ("on", "off", "auto"):
        (etc / "hamid.yaml").write_text(f"legacy_metrics: {word}\n")
        assert read().config.legacy_metrics == word


def test_all_problems_are_told_at_once(etc, read):
    """Also those of different files."""
    (etc / "hamid.yaml").write_text("mode: x\nsplit_count: -1\n")
    (etc / "device-config.yaml").write_text("nvidia: {defaultCores: 1000}\n")
    assert len(refused(read)) == 3


def test_a_file_that_cannot_be_read_is_no_default(etc, read):
    """A dangling link or a folder is a problem; HAMi would go on with an empty mode."""
    (etc / "config.json").symlink_to(etc / "nothing")
    assert "cannot read" in refused(read)[0]


def test_the_signature_sees_a_config_maps_flip(etc, tmp_path):
    """Kubernetes replaces all files of a ConfigMap by turning one link."""
    for name in ("one", "two"):
        (etc / name).mkdir()
        (etc / name / "hamid.yaml").write_text("mode: mig\n")
    (etc / "..data").symlink_to("one")
    (etc / "hamid.yaml").symlink_to("..data/hamid.yaml")
    before = signature(Paths(str(tmp_path)))
    assert signature(Paths(str(tmp_path))) == before
    (etc / "..new").symlink_to("two")
    (etc / "..new").replace(etc / "..data")
    assert signature(Paths(str(tmp_path))) != before


def test_a_reload_keeps_what_needs_a_new_start():
    """The rest is in force at once; every difference says what it needs."""
    running = Config(pods_file="/a")
    wanted = Config(pods_file="/b", pods_source=PodsSource.FILE, split_count=3, mode=Mode.MIG)
    changes = {each.name: each.change for each in compare(running, wanted)}
    assert changes == {
        "pods_file": TakesEffect.RESTART,
        "pods_source": TakesEffect.RESTART,
        "split_count": TakesEffect.NOW,
        "mode": TakesEffect.IDLE_GPU,
    }
    reached = within_reach(running, wanted)
    assert (reached.pods_file, reached.split_count, reached.mode) == ("/a", 3, Mode.MIG)
    assert {each.name for each in compare(reached, wanted)} == {"pods_file", "pods_source"}


HUGE = "0x" + "f" * 5000  # YAML's way to write more digits than Python writes out
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from(["0x1f", HUGE]), st.floats(), st.text(max_size=30)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NODE_KEYS = [each.node for each in SETTINGS if each.node]
HAMI_KEYS = [each.hami for each in SETTINGS if each.hami]


def mapping(*names):
    return st.dictionaries(st.sampled_from(names), VALUES, max_size=6)


def flow(values):
    """JSON, which is YAML too, with bare numbers in hex."""
    return re.sub(r'"(0x[0-9a-f]+)"', r"\1", json.dumps(values))


@given(
    own=mapping(*BY_NAME, "x"),
    hami=mapping(*HAMI_KEYS, *RESOURCE_KEYS, "knownMigGeometries", "x"),
    node=mapping(*NODE_KEYS, "filterdevices", "migstrategy"),
    noise=st.just(b"") | st.binary(max_size=80),
)
def test_any_files_are_a_configuration_or_problems(etc, read, own, hami, node, noise):
    """No value of any setting in any file, and no bytes, raise anything else; what is accepted is within bounds."""
    (etc / "hamid.yaml").write_bytes(flow(own).encode() + b"\n" + noise)
    (etc / "device-config.yaml").write_text(flow({"nvidia": hami}))
    (etc / "config.json").write_text(flow({"nodeconfig": [{**node, "name": "n1"}]}))
    config, problems = outcome(read)
    assert all(each.path.startswith(str(etc)) and str(each).isprintable() for each in problems)
    for each in SETTINGS if config else ():
        value, default = getattr(config, each.name), getattr(Config(), each.name)
        assert not each.high or not isinstance(value, int | float) or value == default or each.low <= value <= each.high
    assert config is None or len(set(astuple(config.resources))) == 5


def outcome(read):
    try:
        return read().config, ()
    except ConfigError as error:
        return None, error.problems


NO_TEMPLATES = TemplateTable(entries=(), aliases={}, source="none")


def parsed(own=(), device_config=None, node_config=None):
    """What values as of files give, without any file."""
    return parse(
        own=[source(each) for each in own],
        device_config=device_config and source(device_config, "device-config.yaml"),
        node_config=node_config and source(node_config, "config.json"),
        templates=NO_TEMPLATES,
        node_name="n1",
    )


def entries(*fields):
    return {"nodeconfig": [{"name": "n1", **each} for each in fields]}


@pytest.mark.parametrize(
    ("given_files", "notes"),
    [
        ({"node_config": entries({})}, ()),
        ({"node_config": {"nodeconfig": [{"name": "n2"}]}}, ("config.json: no entry is named 'n1'",)),
        ({"node_config": {"nodeconfig": []}}, ("config.json: no entry is named 'n1'",)),
        ({"node_config": {"other": 1}}, ("config.json: no entry is named 'n1'",)),
        ({"node_config": entries({"migstrategy": "none"})}, ()),
        (
            {"node_config": entries({"colour": "red"})},
            ("config.json:1: nodeconfig[0].colour is an unknown key",),
        ),
        ({"node_config": entries({"filterdevices": {"uuid": [], "colour": 1}})}, ()),
        (
            {"device_config": {"nvidia": {"runtimeClassName": "x"}}},
            ("device-config.yaml:1: nvidia.runtimeClassName is only for HAMi's scheduler",),
        ),
        (
            {"device_config": {"nvidia": {"colour": 1}}},
            ("device-config.yaml:1: nvidia.colour is an unknown key",),
        ),
        ({"device_config": {"other": {"colour": 1}}}, ()),
        ({"device_config": {"nvidia": {"knownMigGeometries": []}}}, ()),
    ],
)
def test_what_is_ignored_is_noted_unless_it_is_known_to_be_without_use(given_files, notes):
    """A key that hamid does not know, or an entry that is missing, is a note and no problem."""
    assert parsed(**given_files).notes == notes


def test_filters_of_a_nodes_entry_are_read():
    """HAMi's filterdevices holds uuids and indexes, which are two settings here."""
    found = parsed(node_config=entries({"filterdevices": {"uuid": ["GPU-a"], "index": [2]}}))
    assert (found.config.filter_uuids, found.config.filter_indexes) == (("GPU-a",), (2,))
    assert str(found.origins["filter_uuids"]) == "config.json:1"


@pytest.mark.parametrize(
    ("own", "key", "message"),
    [
        ({"kubelet_client_key_file": "/k"}, "kubelet_client_key_file", "is set without a certificate"),
        ({"gpu_modes": 3}, "gpu_modes", "is a number, not a mapping"),
        ({"resources": 3}, "resources", "is a number, not a mapping"),
        ({"health_checks": 1}, "health_checks", "is a number (1)"),
    ],
)
def test_a_value_of_another_kind_is_a_problem(own, key, message):
    """The problem names the key and what was found there."""
    with pytest.raises(ConfigError) as caught:
        parsed(own=[own])
    assert [(each.key, each.message) for each in caught.value.problems] == [(key, message)]


@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_read(value):
    """A setting that is a switch takes the format's own words."""
    assert parsed(own=[{"health_checks": value}]).config.health_checks is value


def test_a_certificate_comes_with_its_key_or_alone():
    """Only a key without a certificate is useless: the certificate's file may hold the key too."""
    pair = {"kubelet_client_cert_file": "/c", "kubelet_client_key_file": "/k"}
    assert parsed(own=[pair]).config.kubelet_client_key_file == "/k"
    assert parsed(own=[{"kubelet_client_cert_file": "/c"}]).config.kubelet_client_cert_file == "/c"
