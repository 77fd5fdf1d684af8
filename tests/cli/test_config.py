# SPDX-License-Identifier: Apache-2.0
"""hamictl config: the configuration as people and programs see it."""

import json
import subprocess
import sys

import jsonschema
import pytest
from support import REPOSITORY

from hamid.core.config.config import SETTINGS, LogForm
from hamid.engine.reload import Reloader
from hamid.node.paths import Paths
from hamid.node.system.logs import setup

DOCS = REPOSITORY / "docs"


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc/hami"
    folder.mkdir(parents=True)
    (folder / "device-config.yaml").write_text("nvidia:\n  deviceSplitCount: 4\n  odd: 1\n")
    (folder / "config.json").write_text('{"nodeconfig": [{"name": "n1", "operatingmode": "mig"}]}')
    (folder / "hamid.yaml").write_text("gpu_modes: {1: hami-core}\n")
    return folder


@pytest.fixture
def config(hamictl, tmp_path, monkeypatch):
    """Runs `hamictl config` on the node n1; gives the document, which its schema promises."""
    monkeypatch.setenv("NODE_NAME", "n1")

    def run(*words, code=0):
        document = hamictl.document("--root", tmp_path, "config", *words, code=code)
        schema = json.loads((DOCS / "json" / f"{document['kind']}.schema.json").read_text())
        jsonschema.validate(document, schema)
        return document

    return run


@pytest.fixture
def printed(hamictl, tmp_path, config):
    """Runs `hamictl config` on the node n1; gives what it printed."""
    return lambda *words: hamictl.run("--root", tmp_path, "config", *words)


@pytest.fixture
def serving(tmp_path, config):
    """The configuration of a hamid that serves."""
    made = Reloader(Paths(str(tmp_path)), {"NODE_NAME": "n1"}, setup(LogForm.AUTO, "error", {}))
    made.start()
    made.publish()
    return made


def test_show_tells_every_value_and_where_it_comes_from(config, etc):
    """HAMi's files, ours and the defaults, each by file and line; what was passed over is noted."""
    document = config("show")
    found = {each["name"]: (each["value"], each["origin"]) for each in document["settings"]}
    assert list(found) == [each.name for each in SETTINGS]
    assert found["mode"] == ("mig", f"{etc}/config.json:1")
    assert found["split_count"] == (4, f"{etc}/device-config.yaml:2")
    assert found["gpu_modes"] == ({"1": "hami-core"}, f"{etc}/hamid.yaml:1")
    assert found["log_level"] == ("info", "default")
    assert "nvidia.odd" in document["notes"][0]


def test_show_for_people(config, etc, printed):
    """Only the settings that were asked for, with their origin where that was asked for; notes on stderr."""
    result = printed("show", "mode", "--origin")
    assert [line.split() for line in result.stdout.splitlines()][-1] == ["mode", "mig", f"{etc}/config.json:1"]
    assert "split_count" not in result.stdout
    assert "origin" not in printed("show", "mode").stdout.lower()
    assert "nvidia.odd" in result.stderr
    assert "split_count" in printed("show", "-o", "yaml").stdout


def test_a_mistyped_setting_is_a_usage_error(config, etc):
    """With the setting that was meant."""
    assert config("show", "mod", code=2)["hint"] == "did you mean mode?"


def test_check_tells_all_problems_by_file_line_and_key(config, etc, tmp_path, printed):
    """Exit code 2 and the whole list, as data; a valid configuration is 0."""
    assert config("check")["valid"]
    (etc / "hamid.yaml").write_text("mod: mig\nsplit_count: 0\n")
    problems = config("check", code=2)["problems"]
    assert [(each["path"], each["line"], each["key"]) for each in problems] == [
        (f"{etc}/hamid.yaml", 1, "mod"),
        (f"{etc}/hamid.yaml", 2, "split_count"),
    ]
    text = printed("check")
    assert text.exit_code == 2
    assert f"{etc}/hamid.yaml:1: mod: unknown setting (did you mean mode?)" in text.stdout
    assert config("show", code=2)["code"] == "ConfigError"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("split_count: 3", 0, ()),
        ("split_count: x", 2, ()),
        ("nvidia: {deviceSplitCount: 3}", 0, ()),
        ("nvidia: {deviceSplitCount: 0}", 2, ()),
        ("knownMigGeometries: [{models: [A30]}]", 2, ()),
        ('{"nodeconfig": [{"name": "n2", "devicesplitcount": 0}]}', 0, ()),
        ('{"nodeconfig": [{"name": "n2", "devicesplitcount": 0}]}', 2, ("--node", "n2")),
        ("{", 2, ()),
        ("\0", 2, ()),
    ],
)
def test_a_file_is_checked_before_it_gets_to_the_node(config, tmp_path, text, code, words):
    """What it is for is told by its keys; the node's own files have no part in it."""
    file = tmp_path / "new"
    file.write_text(text)
    document = config("check", file, *words, code=code)
    assert document["valid"] == (code == 0)
    assert document["files"] == [str(file)]


def test_a_directory_is_checked_as_etc_hami(config, tmp_path):
    """Drop-ins and all."""
    (tmp_path / "new/hamid.yaml.d").mkdir(parents=True)
    (tmp_path / "new/hamid.yaml.d/a.yaml").write_text("pods_source: file\n")
    assert "pods_file is not set" in config("check", tmp_path / "new", code=2)["problems"][0]["message"]
    (tmp_path / "new/hamid.yaml").write_text("pods_file: /p\n")
    assert config("check", tmp_path / "new")["valid"]
    assert config("check", tmp_path / "none", code=2)["code"] == "UsageError"


def test_diff_without_a_hamid_is_exit_code_5(config, etc):
    """Nothing is in force, which differs from no difference."""
    assert config("diff", code=5)["code"] == "DaemonMissing"


def test_diff_tells_what_each_difference_needs(config, etc, serving, tmp_path, printed):
    """Against the node's files, and against ones to come; the hamid that runs is named, and what it refused."""
    document = config("diff")
    assert (document["changes"], document["version"], document["problem"]) == ([], 1, "")
    (etc / "hamid.yaml").write_text("split_count: 7\nhook_path: /opt\ngpu_modes: {0: mig}\n")
    changes = {
        each["name"]: (each["running"], each["files"], each["needs"]) for each in config("diff", code=3)["changes"]
    }
    assert changes == {
        "gpu_modes": ({"1": "hami-core"}, {"0": "mig"}, "idle GPU"),
        "split_count": (4, 7, "now"),
        "hook_path": ("/usr/local", "/opt", "restart"),
    }
    (tmp_path / "geometries").write_text(
        "knownMigGeometries: [{models: [A30], allowedGeometries: [[{name: 1g.6gb, memory: 6144, count: 4}]]}]"
    )
    assert "templates" in [each["name"] for each in config("diff", tmp_path / "geometries", code=3)["changes"]]
    serving.reload()
    assert [each["name"] for each in config("diff", code=3)["changes"]] == ["hook_path"]
    (etc / "hamid.yaml").write_text("split_count: none\n")
    serving.reload()
    assert config("diff", code=2)["code"] == "ConfigError"
    (etc / "hamid.yaml").unlink()
    text = printed("diff")
    assert text.exit_code == 3
    assert "It refused newer files" in text.stdout
    assert "split_count" in text.stdout


def test_the_page_of_settings_is_current():
    """docs/config.md is what tools/config_docs.py makes of the settings, and has each of them."""
    done = subprocess.run([sys.executable, REPOSITORY / "tools/config_docs.py", "--check"], check=False)
    assert done.returncode == 0, "run tools/config_docs.py"
    page = (DOCS / "config.md").read_text()
    assert [each.name for each in SETTINGS if f"| `{each.name}` |" not in page] == []


def test_the_example_of_the_page_is_valid(config, tmp_path):
    """What the page tells people to write is a configuration."""
    example = (DOCS / "config.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "example.yaml").write_text(example)
    assert config("check", tmp_path / "example.yaml")["valid"]
