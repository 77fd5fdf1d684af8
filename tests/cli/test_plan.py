# SPDX-License-Identifier: Apache-2.0
"""hamictl mig plan on simulated nodes, through the real nvidia-ml-py."""

import pytest

A100 = "1xA100-SXM4-40GB"


def serving(document):
    return [
        (gpu["index"], i["profile"], i["start"]) for gpu in document["gpus"] for i in gpu["instances"] if i["serves"]
    ]


@pytest.mark.parametrize(
    ("spec", "memory", "profile", "template", "rest"),
    [
        (A100, 8000, "2g.10gb", {"1g.5gb": 1, "2g.10gb": 3}, {"1g.5gb": 1, "2g.10gb": 1}),
        ("1xA100-SXM4-80GB", 16000, "2g.20gb", {"1g.10gb": 1, "2g.20gb": 3}, {"1g.10gb": 1, "2g.20gb": 1}),
        ("1xH100-80GB-SXM5", 16000, "2g.20gb", {"1g.10gb": 1, "2g.20gb": 3}, {"1g.10gb": 1, "2g.20gb": 1}),
        ("1xH200", 30000, "2g.35gb", {"1g.18gb": 1, "2g.35gb": 3}, {"1g.18gb": 1, "2g.35gb": 1}),
        ("1xA30", 8000, "2g.12gb", {"2g.12gb": 2}, {"2g.12gb": 0}),
        ("1xRTX-PRO-6000", 30000, "2g.48gb", {"2g.48gb": 2}, {"2g.48gb": 0}),
    ],
)
def test_the_worked_example_end_to_end(hamictl, spec, memory, profile, template, rest):
    """From the command line through NVML to the document: two instances of the expected size, the rest as left."""
    plan = hamictl.document("--sim", spec, "mig", "plan", "--mem", memory, "--count", 2)
    assert (plan["apiVersion"], plan["kind"], plan["simulated"]) == ("hami.io/v1", "MigPlan", True)
    assert plan["feasible"] is True
    assert plan["gpus"][0]["template"]["profiles"] == template
    assert plan["remaining"]["template"] == rest
    assert [each[1] for each in serving(plan)] == [profile, profile]
    assert [step["step"] for step in plan["steps"]] == ["SetMigMode", "CreateInstance", "CreateInstance"]


def test_what_follows_on_the_same_gpu_is_refused_with_exit_code_8(hamictl):
    """The refusal is the same document with exit code 8, and says which template is frozen by what."""
    words = ("--sim", A100, "mig", "plan", "--mem", 20000, "--occupied", "2g.10gb@0,2g.10gb@2")
    plan = hamictl.document(*words, code=8)
    assert plan["feasible"] is False
    (reason,) = plan["refusal"]["reasons"]
    assert (reason["gpu"], reason["code"]) == (0, "TemplateInUse")
    assert "3g.20gb*2" in reason["message"]


def test_occupied_instances_are_kept_and_drawn(hamictl):
    """An assumed instance appears as keep in the document and with = on the axis."""
    words = ("--sim", A100, "mig", "plan", "--mem", 8000, "--occupied", "2g.10gb@0")
    plan = hamictl.document(*words)
    kept = [i for i in plan["gpus"][0]["instances"] if i["action"] == "keep"]
    assert [(i["profile"], i["start"], i["serves"]) for i in kept] == [("2g.10gb", 0, False)]
    assert "|= 2g.10gb" in hamictl.run(*words).stdout


def test_the_page_shows_axis_steps_and_rest(hamictl):
    """The text for people names the template, every step and what stays."""
    page = hamictl.run("--sim", "1xRTX-PRO-6000", "mig", "plan", "--mem", 30000).stdout
    for part in ("template 1: 2g.48gb*2", "11", "+ 2g.48gb", "switch MIG mode on", "Left in the template: 2g.48gb*1"):
        assert part in page


@pytest.mark.parametrize(
    "words",
    [
        ("--sim", A100, "-o", "json", "mig", "plan", "--mem", "8000"),
        ("mig", "--sim", A100, "--output", "json", "plan", "--mem", "8000"),
        ("mig", "plan", "--mem", "8000", "--sim", A100, "-ojson"),
        ("-o", "yaml", "--sim", "1xA30", "mig", "plan", "--mem", "8000", "-o", "json", "--sim", A100),
    ],
)
def test_shared_options_are_taken_in_every_position(hamictl, words):
    """Before the noun, behind it, behind the verb; the last one said wins."""
    assert '"profile": "2g.10gb"' in hamictl.run(*words).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--sim", A100, "mig", "plan"), 2, "--mem or --profile"),
        (("--sim", A100, "mig", "plan", "--mem", "x"), 2, "'x'"),
        (("--sim", A100, "mig", "plan", "--mem", "8000", "--count", "0"), 2, "count 0"),
        (("--sim", A100, "mig", "plan", "--mem", "8000", "-i", "7"), 2, "'7'"),
        (("--sim", A100, "mig", "plan", "--mem", "8000", "--occupied", "2g.10gb@1"), 2, "0, 2, 4"),
        (("--sim", A100, "mig", "plan", "--mem", "8000", "--profile", "huge"), 2, "'huge'"),
        (("--sim", "1xA100", "mig", "list"), 2, "ambiguous"),
        (("--sim", "0xA30", "mig", "list"), 2, ""),
        (("--sim", "33xA30", "mig", "list"), 2, ""),
        (("--sim", "1xA30,", "mig", "list"), 2, ""),
        (("--sim", "", "mig", "list"), 2, "empty"),
        (("--sim", "/nonexistent/state", "mig", "list"), 2, "/nonexistent/state"),
        (("--sim", A100, "gpu", "show", "GPU-"), 0, ""),
    ],
)
def test_bad_input_is_answered_with_exit_code_2_and_what_was_wrong(hamictl, words, code, said):
    """Every wrong argument is named on stderr and nothing is printed as if it were an answer."""
    result = hamictl.run(*words)
    assert result.exit_code == code
    assert said in result.stderr
    assert (result.stdout == "") == (code != 0)


def test_an_error_is_a_document_too_where_one_was_asked_for(hamictl):
    """-o json gives programs the error's code, message and hint on stdout."""
    error = hamictl.document("--sim", A100, "mig", "plan", "--mem", "x", code=2)
    assert (error["kind"], error["code"]) == ("Error", "UsageError")
    assert error["hint"]


def test_a_named_profile_is_planned_by_name(hamictl):
    """Media profiles are for those who name them: packed places one, and a plain request never gets it."""
    words = ("--sim", A100, "mig", "plan", "--policy", "packed")
    assert [each[1] for each in serving(hamictl.document(*words, "--profile", "1g.5gb+me"))] == ["1g.5gb+me"]
    assert [each[1] for each in serving(hamictl.document(*words, "--mem", 4000))] == ["1g.5gb"]


def test_packed_matches_memory_by_nvml(hamictl):
    """A 2g.10gb has 9856 MiB: 10000 MiB need a 3g.20gb under packed and a 2g.10gb by HAMi's template."""
    words = ("--sim", A100, "mig", "plan", "--mem", 10000)
    assert serving(hamictl.document(*words, "--policy", "packed"))[0][1] == "3g.20gb"
    assert serving(hamictl.document(*words))[0][1] == "2g.10gb"
    assert serving(hamictl.document(*words, "--memory-match", "nvml"))[0][1] == "3g.20gb"


def test_explain_names_every_template_and_the_smallest_obstacle(hamictl):
    """--explain lists what was passed over and why, and which instance would have to move or end."""
    words = ("--sim", A100, "mig", "plan", "--mem", 19000, "--policy", "packed", "--explain")
    plan = hamictl.document(*words, "--occupied", "1g.5gb@1,1g.5gb@4", code=8)
    (reason,) = plan["refusal"]["reasons"]
    assert len(reason["blockers"]) == 1
    assert "moving" in reason["hint"]
    assert plan["considered"]
