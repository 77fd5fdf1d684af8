# SPDX-License-Identifier: Apache-2.0
"""The options of a request for instances, shared by all commands that take one."""

from typing import Annotated

import typer
from msgspec import Struct

from hamictl.options import Gpus
from hamid.core.hardware.geometry import MAX_COUNT
from hamid.core.planner.request import GpuPolicy, MemoryMatch, Policy, Request, in_range, make_request
from hamid.core.units import parse_memory


class RequestOptions(Struct, kw_only=True):
    """What is requested, on which GPUs, and by which policies."""

    mem: Annotated[
        str | None,
        typer.Option("--mem", "-m", metavar="MEM", help="Memory per instance, in MiB or with a unit: 8000, 8Gi, 50%."),
    ] = None
    count: Annotated[int, typer.Option("--count", "-n", help="Number of instances.")] = 1
    cores: Annotated[int, typer.Option(metavar="PERCENT", help="Least share of the GPU's cores per instance.")] = 0
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="Name of a profile, such as 1g.10gb+me.")] = None
    gpu: Gpus = None
    model: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Use only GPUs of this model. Repeatable.")
    ] = None
    policy: Annotated[Policy, typer.Option(help="template: like HAMi; packed: any legal placement.")] = Policy.TEMPLATE
    gpu_policy: Annotated[GpuPolicy, typer.Option(help="binpack: used GPUs first; spread: idle GPUs first.")] = (
        GpuPolicy.BINPACK
    )
    memory_match: Annotated[
        MemoryMatch | None,
        typer.Option(help="Source of an instance's memory size (default template; nvml with --policy packed)."),
    ] = None
    same_gpu: Annotated[bool, typer.Option("--same-gpu", help="Place all instances on one GPU.")] = False
    no_enable: Annotated[bool, typer.Option("--no-enable", help="Skip GPUs whose MIG mode is off.")] = False
    reclaim_idle: Annotated[
        bool, typer.Option("--reclaim-idle", help="Allow destroying idle instances not created by hamid.")
    ] = False

    def request(self) -> Request:
        """The Request that these options describe; raises UsageError."""
        return make_request(
            count=in_range("count", self.count, 1, MAX_COUNT),
            memory=None if self.mem is None else parse_memory(self.mem),
            profile=self.profile,
            cores_percent=self.cores,
            policy=self.policy,
            memory_match=self.memory_match,
            gpu_policy=self.gpu_policy,
            gpus=tuple(self.gpu or ()),
            models=tuple(self.model or ()),
            same_gpu=self.same_gpu,
            enable_mig=not self.no_enable,
            reclaim_idle=self.reclaim_idle,
        )
