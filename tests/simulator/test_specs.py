# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pynvml
import pytest

from hamid.core.errors import UsageError
from hamid.node.simulation import control

NAMES = {
    "A30": ("NVIDIA A30", 0x20B710DE),
    "A100-SXM4-40GB": ("NVIDIA A100-SXM4-40GB", 0x20B010DE),
    "A100-SXM4-80GB": ("NVIDIA A100-SXM4-80GB", 0x20B210DE),
    "A100-40GB": ("NVIDIA A100-SXM4-40GB", 0x20B010DE),
    "a100_pcie_40gb": ("NVIDIA A100-PCIE-40GB", 0x20F110DE),
    "NVIDIA A100 80GB PCIe": ("NVIDIA A100 80GB PCIe", 0x20B510DE),
    "H100-80GB-SXM5": ("NVIDIA H100 80GB HBM3", 0x233010DE),
    "H100-80GB": ("NVIDIA H100 80GB HBM3", 0x233010DE),
    "H200": ("NVIDIA H200", 0x233510DE),
    "H200-NVL": ("NVIDIA H200 NVL", 0x233B10DE),
    "RTX-PRO-6000": ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 0x2BB510DE),
}

BAD = {
    "": "empty",
    "0xA30": "zero",
    "00xA30": "zero",
    "33xA30": "too many",
    "16xA30,17xA30": "too many GPUs altogether",
    "99999999999999999999xA30": "too many",
    "4294967297xA30": "too many",
    "A30": "no COUNTx",
    "xA30": "no COUNTx",
    "-1xA30": "no COUNTx",
    "1": "no COUNTx",
    "1x": "no board",
    "1xA30,": "empty part",
    ",1xA30": "empty part",
    "1xA30,,1xA30": "empty part",
    " 1xA30": "blank",
    "1xA30 ": "blank",
    "1xA30, 1xA30": "blank",
    "1x A30": "unknown board",
    "1XA30": "no COUNTx",
    "1xA31": "unknown board",
    "1xA3": "unknown board",
    "1xA100": "ambiguous",
    "1xH100": "ambiguous",
    "1xNVIDIA": "unknown board",
    "1x" + "A" * 300: "longer",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_board_name_means_one_product(node, name):
    """Keys, exact names and whole-token prefixes find their product with any case and separators."""
    node(f"1x{name}")
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert (pynvml.nvmlDeviceGetName(device), pynvml.nvmlDeviceGetPciInfo(device).pciDeviceId) == NAMES[name]


@pytest.mark.parametrize("spec", BAD)
def test_a_bad_spec_is_refused_with_its_reason(spec):
    """Every way to mistype a node gets an error that says what is wrong."""
    with pytest.raises(UsageError) as caught:
        control.check_spec(spec)
    assert BAD[spec] in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "choice"), [("A100", "A100-SXM4-80GB"), ("Z9", "RTX PRO 6000"), ("Z9", "GH200-144GB")]
)
def test_an_unclear_name_lists_the_choices(name, choice):
    """Unknown and ambiguous names are answered with what could have been meant."""
    with pytest.raises(UsageError) as caught:
        control.check_spec(f"1x{name}")
    assert choice in caught.value.message


def test_a_node_has_up_to_32_gpus_of_different_boards(node):
    """A spec with parts gives the GPUs in order, with distinct UUIDs and addresses."""
    node("2xA100-SXM4-40GB,1xA30,29xH100-80GB-SXM5")
    devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    names = [pynvml.nvmlDeviceGetName(device) for device in devices]
    assert names == ["NVIDIA A100-SXM4-40GB"] * 2 + ["NVIDIA A30"] + ["NVIDIA H100 80GB HBM3"] * 29
    assert len({pynvml.nvmlDeviceGetUUID(device) for device in devices}) == 32
    assert len({pynvml.nvmlDeviceGetPciInfo(device).busId for device in devices}) == 32


def test_uuids_of_a_node_repeat(make_state):
    """The same node made twice has the same GPU UUIDs, so that tests can name them."""
    found = []
    for _ in range(2):
        make_state("2xA30")
        pynvml.nvmlInit()
        found.append([pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(2)])
        pynvml.nvmlShutdown()
    assert found[0] == found[1]


def test_a_private_node_comes_from_the_environment(clean_environment):
    """HAMI_SIM_NODE alone describes a node in memory; each nvmlInit reads it again."""
    for spec, count in (("3xA30", 3), ("1xH200", 1)):
        clean_environment.setenv("HAMI_SIM_NODE", spec)
        pynvml.nvmlInit()
        assert pynvml.nvmlDeviceGetCount() == count
        pynvml.nvmlShutdown()


def test_without_variables_there_is_no_driver(clean_environment, capfd):
    """A machine that names no simulated node has no driver, and nothing is printed about it."""
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()
    assert capfd.readouterr().err == ""


def test_a_mistyped_variable_is_explained(clean_environment, capfd):
    """A wrong HAMI_SIM_NODE is no driver either, and one line on stderr says what is wrong with it."""
    clean_environment.setenv("HAMI_SIM_NODE", "2xA999")
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()
    assert "unknown board 'A999'" in capfd.readouterr().err


def test_boards_lists_every_product(board_data):
    """The list of boards has every product of every board that has a complete profile."""
    listed = {(board.key, board.name) for board in control.boards()}
    assert ("A30-24GB", "NVIDIA A30") in listed
    assert ("GH200-144GB", "") in listed
    assert {key for key, _ in listed} <= set(board_data)
    assert not {"B300-269GB", "GB300-278GB", "H20-141GB", "RTX-PRO-5000-Blackwell-48GB"} & {key for key, _ in listed}
