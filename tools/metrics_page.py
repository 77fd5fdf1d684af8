# SPDX-License-Identifier: Apache-2.0
"""Prints docs/metrics.md: every metric of hamid with type, labels and meaning, from a node that has one of everything.

After a change of metrics: .venv/bin/python tools/metrics_page.py > docs/metrics.md
"""

from __future__ import annotations

from hamid.core.claims.claim import Claim, ClaimedSeat, ClaimedShare, InstanceKey, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.config.config import Config, LegacyMetrics, Mode
from hamid.core.hardware.gpu import Gpu, Instance, Load
from hamid.core.hardware.profile import Placement
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.library.region import ContainerUse, Use
from hamid.core.metrics.counters import COUNTED, SECONDS, Tally
from hamid.core.metrics.daemon import DaemonFacts
from hamid.core.metrics.family import Family
from hamid.core.metrics.gpus import families
from hamid.core.view import GpuView, View

HEAD = """\
# Metrics

`/metrics` on port 9394 (`metrics_address`), in Prometheus' text format. A scrape reads the last published state of the
node and never waits for the driver. `/livez` is ok while the daemon's supervision turns; `/readyz` once the driver
answered, every promise of before is restored and kubelet knows us; `?verbose` names every check.

Names that begin with `hami_` are those of HAMi v2.10, so that its dashboards go on. Its older names, up to v2.8, are
served beside them as `legacy_metrics` says (`auto` and `on` serve them, `off` does not). What HAMi has no metric for
begins with `hamid_`. What a container does on its cores is told where HAMi-core's library is at work in it. Not served:
resource quotas, which HAMi's scheduler alone knows, and `Device_memory_desc_of_container`, whose labels were figures.

This page is printed by `tools/metrics_page.py`; a test compares it with what hamid serves.
"""


# Of the claim with a share below.
USES = {2: ContainerUse(devices=(Use(total_bytes=1 << 20),), tells_cores=True, last_kernel_at=990)}
LOAD = Load(memory_used_bytes=1 << 30, utilization_percent=50, memory_controller_percent=20)


def main() -> None:
    """The page on stdout."""
    new = {family.name: family for family in _families(LegacyMetrics.OFF)}
    everything = _families(LegacyMetrics.ON)
    older = [family for family in everything if family.name not in new]
    print(HEAD)
    for title, some in (
        ("HAMi's names", [family for family in everything if family.name in new and family.name.startswith("hami_")]),
        ("HAMi's older names", older),
        ("hamid's own", [family for family in everything if family.name.startswith("hamid_")]),
    ):
        print(f"## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|")
        for family in sorted(some, key=lambda each: each.name):
            print(_row(family))
        print()
    print("Histograms have the buckets", ", ".join(f"{each:g}" for each in SECONDS), "seconds.")


def _row(family: Family) -> str:
    labels = sorted({label for sample in family.samples for label in sample.labels if label != "le"})
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    return f"| {name} | {family.kind} | {', '.join(labels) or '-'} | {family.text} |"


def _families(legacy: LegacyMetrics) -> tuple[Family, ...]:
    facts = DaemonFacts(now=1000.0, version="0", node="node", registered=True, registered_at=900.0, uses=USES)
    return families(_view(legacy), _tallies(), facts)


def _tallies() -> list[Tally]:
    return [
        Tally(
            name=each.name,
            labels=tuple(each.labels),
            count=1,
            seconds=0.5,
            buckets=(0,) * len(SECONDS) if each.timed else (),
        )
        for each in COUNTED.values()
    ]


def _owner() -> PodOwner:
    return PodOwner(
        uid="uid",
        namespace="default",
        name="job",
        container="main",
        index=0,
        resource="nvidia.com/gpu",
        device_ids=("GPU-0-0",),
        request=ContainerRequest(count=1),
        confirmed=True,
        granted_at=950.0,
        boot_id="boot",
    )


def _view(legacy: LegacyMetrics) -> View:
    """A GPU with an instance that a container holds, and one with a share."""
    seat = InstanceKey("GPU-0", 19, 0)
    instance = Instance(
        profile="1g.5gb",
        profile_id=19,
        memory_mib=4864,
        placement=Placement(start=0, size=1),
        gi_id=7,
        ci_id=0,
        compute_instances=1,
        mig_uuid="MIG-0",
        used=True,
    )
    split = Gpu(index=0, uuid="GPU-0", name="NVIDIA A100", memory_mib=40960, mig_enabled=True, instances=(instance,))
    shared = Gpu(index=1, uuid="GPU-1", name="NVIDIA A100", memory_mib=40960)
    claims = (
        Claim(id=1, owner=_owner(), seats=(ClaimedSeat(seat=seat, profile="1g.5gb", size=1, made=True),)),
        Claim(id=2, owner=_owner(), shares=(ClaimedShare(gpu_uuid="GPU-1", memory_mib=4000, sm_percent=30),)),
    )
    return View(
        snapshot=Snapshot(gpus=(split, shared)),
        gpus=(
            GpuView(gpu=split, mode=Mode.MIG, served=True, load=LOAD),
            GpuView(gpu=shared, mode=Mode.HAMI_CORE, served=True, load=LOAD),
        ),
        claims=claims,
        config=Config(legacy_metrics=legacy),
        ready=True,
        observed_at=999.0,
    )


if __name__ == "__main__":
    main()
