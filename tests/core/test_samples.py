# SPDX-License-Identifier: Apache-2.0
"""Names, types and labels of metrics are a contract with dashboards; values follow the View."""

import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from hamid.core.config import Config, LegacyMetrics
from hamid.core.counted import COUNTED, SECONDS, Tally
from hamid.core.gpu import Gpu
from hamid.core.samples import families
from hamid.core.samples_own import Facts
from hamid.core.snapshot import Snapshot
from hamid.core.view import GpuView, View
from hamid.serve.web import metrics

TOP = Path(__file__).parents[2]
FACTS = Facts(now=1000.0, version="1.2", node="n")


def test_every_metric_is_on_the_page_with_its_type_and_labels():
    """docs/metrics.md is what a node that has one of everything serves: no name, type or label changes unnoticed."""
    page = subprocess.run(
        [sys.executable, TOP / "tools" / "metrics_page.py"], capture_output=True, text=True, check=True, cwd=TOP
    ).stdout
    assert page == (TOP / "docs" / "metrics.md").read_text()
    for name in COUNTED:
        assert f"| {name} |" in page


def served(view, tallies=()):
    """What a scrape gets, as Prometheus' own parser reads it: samples by name."""
    answer = metrics(families(view, tallies, FACTS))
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def test_a_scrape_without_a_driver_is_a_scrape():
    """Before the node was read once a scrape has the daemon's own figures, and says that there is no reading."""
    found = served(View())
    assert found["hamid_ready"][0].value == 0
    assert found["hamid_snapshot_age_seconds"][0].value == float("inf")
    assert "hami_gpu_memory_limit_bytes" not in found


def test_hostile_names_cannot_break_the_text():
    """Quotes, backslashes and line ends of a GPU's name come out of Prometheus' parser as they went in."""
    name = 'N"V\\I\nD{IA} 1'
    gpu = Gpu(index=0, uuid="GPU-0", name=name, memory_mib=1)
    view = View(
        snapshot=Snapshot(gpus=(gpu,)), gpus=(GpuView(gpu=gpu, mode=Config().mode, served=True),), observed_at=1.0
    )
    found = served(view)
    assert found["hami_gpu_memory_limit_bytes"][0].labels["device_type"] == f"NVIDIA-{name}"


def test_older_names_are_served_unless_they_are_off():
    """`off` leaves out exactly HAMi's older names, `auto` and `on` are the same on a node of its own."""
    names = {
        legacy: {family.name for family in families(View(config=Config(legacy_metrics=legacy)), (), FACTS)}
        for legacy in LegacyMetrics
    }
    assert names[LegacyMetrics.AUTO] == names[LegacyMetrics.ON]
    older = names[LegacyMetrics.ON] - names[LegacyMetrics.OFF]
    assert "nodeGPUMigInstance" in older
    assert not any(name.startswith("hami") for name in older)


def test_a_histogram_counts_up_to_all():
    """Buckets are cumulative and end with +Inf, which is the count."""
    tally = Tally(
        name="hamid_allocate_duration_seconds",
        labels=("mig",),
        count=3,
        seconds=1.5,
        buckets=tuple(min(index, 3) for index in range(len(SECONDS))),
    )
    buckets = served(View(), [tally])["hamid_allocate_duration_seconds_bucket"]
    values = [sample.value for sample in buckets]
    assert values == sorted(values)
    assert buckets[-1].labels["le"] == "+Inf"
    assert values[-1] == 3
