# SPDX-License-Identifier: Apache-2.0
import pytest
from support.narrow import present

from hamid.core.planner.templates import ModelTemplates, Template, TemplateSlot, TemplateTable, name_tokens
from hamid.node.config.files import builtin_templates


def table(*models, aliases=None):
    entries = tuple(
        ModelTemplates((model,), (Template(0, (TemplateSlot(f"1g.{number}gb", 1, 1),)),))
        for number, model in enumerate(models, 1)
    )
    return TemplateTable(entries, aliases or {}, "a test")


@pytest.mark.parametrize(
    ("nvml_name", "models", "chosen"),
    [
        ("NVIDIA H200", ("H20", "H200"), "H200"),
        ("NVIDIA H20", ("H200", "H20"), "H20"),
        ("NVIDIA GB200", ("B200",), None),
        ("NVIDIA A100-SXM4-40GB", ("A100", "a100_sxm4 40GB"), "a100_sxm4 40GB"),
        ("NVIDIA A100 80GB PCIe", ("A100-80GB-PCIe",), "A100-80GB-PCIe"),
        ("NVIDIA H200 NVL", ("H200", "H200 NVL"), "H200 NVL"),
        ("NVIDIA A30", ("NVIDIA-A30",), "NVIDIA-A30"),
        ("NVIDIA A30", ("NVIDIA",), None),
        (None, ("A30",), None),
    ],
)
def test_models_match_by_whole_tokens_and_the_most_specific_wins(nvml_name, models, chosen):
    """H20 is not H200 and B200 not GB200; a longer match beats a shorter one in any order."""
    found = table(*models).lookup(nvml_name)
    assert (found.models[0] if found else None) == chosen


def test_an_alias_stands_for_a_whole_product_name():
    """HAMi's name for the H100 SXM occurs in no NVML string; its alias leads there and nowhere else."""
    found = table("H100-SXM5-80GB", aliases={"H100-SXM5-80GB": ("NVIDIA H100 80GB HBM3",)})
    assert found.lookup("NVIDIA H100 80GB HBM3") is not None
    assert found.lookup("NVIDIA H100 80GB HBM3e") is None


@pytest.mark.parametrize(
    ("nvml_name", "first_profile"),
    [
        ("NVIDIA A30", "1g.6gb"),
        ("NVIDIA A100-SXM4-40GB", "1g.5gb"),
        ("NVIDIA A100-PCIE-40GB", "1g.5gb"),
        ("NVIDIA A100-SXM4-80GB", "1g.10gb"),
        ("NVIDIA A100 80GB PCIe", "1g.10gb"),
        ("NVIDIA A800-SXM4-80GB", "1g.10gb"),
        ("NVIDIA H100 80GB HBM3", "1g.10gb"),
        ("NVIDIA H100 PCIe", "1g.10gb"),
        ("NVIDIA H100 NVL", "1g.12gb"),
        ("NVIDIA GH200 480GB", "1g.12gb"),
        ("NVIDIA H20", "1g.12gb"),
        ("NVIDIA H200", "1g.18gb"),
        ("NVIDIA H200 NVL", "1g.18gb"),
        ("NVIDIA B200", "1g.23gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "1g.24gb"),
    ],
)
def test_every_product_name_of_the_board_data_finds_hamis_templates(nvml_name, first_profile):
    """The shipped table serves the boards under the names that NVML really prints."""
    assert present(builtin_templates().lookup(nvml_name)).templates[0].slots[0].name == first_profile


def test_separators_case_and_vendor_do_not_matter():
    """Blank, `-` and `_` separate alike; NVIDIA is no token."""
    assert name_tokens("NVIDIA A100-SXM4_40GB") == name_tokens("a100 sxm4 40gb")
