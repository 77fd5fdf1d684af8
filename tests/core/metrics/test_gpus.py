# SPDX-License-Identifier: Apache-2.0
"""Names, types and labels of metrics are a contract with dashboards; values follow the View."""

import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support import REPOSITORY

from hamid.core.claims.claim import Claim, ClaimedShare, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.config.config import Config, LegacyMetrics
from hamid.core.hardware.gpu import Gpu
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.library.region import ContainerUse, Use
from hamid.core.metrics.counters import COUNTED, SECONDS, Tally
from hamid.core.metrics.daemon import DaemonFacts
from hamid.core.metrics.gpus import families
from hamid.core.view import GpuView, View
from hamid.serve.web import metrics

TOP = REPOSITORY
FACTS = DaemonFacts(now=1000.0, version="1.2", node="n")


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
    found: dict[str, list[Sample]] = {}
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


def container(name, index, *shares):
    owner = PodOwner(
        uid="u",
        namespace="ns",
        name="job",
        container=name,
        index=index,
        resource="nvidia.com/gpu",
        device_ids=("a",),
        request=ContainerRequest(count=len(shares)),
        granted_at=1.0,
        boot_id="boot",
    )
    parts = tuple(ClaimedShare(gpu_uuid=uuid, memory_mib=mib, sm_percent=percent) for uuid, mib, percent in shares)
    return Claim(id=1 if name == "main" else 2, owner=owner, shares=parts)


def test_what_a_container_holds_is_summed_by_gpu_and_told_by_its_place_in_the_pod():
    """As HAMi's scheduler numbers containers; init containers have no number there, and so no series."""
    view = View(
        claims=(
            container("main", 1, ("GPU-0", 100, 10), ("GPU-0", 50, 5), ("GPU-1", 7, 0)),
            container("init", None, ("GPU-0", 1, 1)),
        )
    )
    found = served(view)
    for name, older, values in (
        ("hami_vgpu_memory_allocated_bytes", "vGPUMemoryAllocated", {"GPU-0": 150 << 20, "GPU-1": 7 << 20}),
        ("hami_vgpu_core_allocated_ratio", "vGPUCoreAllocated", {"GPU-0": 15, "GPU-1": 0}),
    ):
        assert {sample.labels["device_uuid"]: sample.value for sample in found[name]} == values
        assert {sample.labels["deviceuuid"]: sample.value for sample in found[older]} == values
        assert {sample.labels["container_index"] for sample in found[name]} == {"1"}
        assert {sample.labels["containeridx"] for sample in found[older]} == {"1"}


def test_cores_are_told_where_hami_core_tells_them_alone():
    """A container of our libvgpu, which says nothing of them, has no series that would always be 0."""
    view = View(claims=(container("main", 0, ("GPU-0", 100, 10)),))
    for tells, last, names in ((True, 990, {"99", "10.0"}), (False, 0, set())):
        use = ContainerUse(devices=(Use(total_bytes=5, sm_percent=99),), tells_cores=tells, last_kernel_at=last)
        answer = metrics(families(view, (), DaemonFacts(now=1000.0, version="1", node="n", uses={1: use})))
        wanted = ("hami_container_device_utilization_ratio{", "hami_container_last_kernel_elapsed_seconds{")
        lines = [line for line in answer.body.decode().splitlines() if line.startswith(wanted)]
        assert {f"{float(line.split()[-1]):g}" for line in lines} == {f"{float(each):g}" for each in names}
