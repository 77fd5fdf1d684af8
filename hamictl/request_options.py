# SPDX-License-Identifier: Apache-2.0
"""The options by which a request for instances is typed; one group for every command that takes one."""

from typing import Annotated

import typer
from msgspec import Struct

from hamictl.options import Gpus
from hamid.core.hardware.geometry import MAX_COUNT
from hamid.core.planner.request import GpuPolicy, MemoryMatch, Policy, Request, in_range, make_request
from hamid.core.units import parse_memory


class RequestOptions(Struct, kw_only=True):
    """What is asked for, where it may go, and by which rules."""

    mem: Annotated[
        str | None, typer.Option("--mem", "-m", metavar="MEM", help="Memory per instance: 8000, 8Gi, 50%.")
    ] = None
    count: Annotated[int, typer.Option("--count", "-n", help="How many instances.")] = 1
    cores: Annotated[int, typer.Option(metavar="PERCENT", help="Share of the GPU's cores per instance.")] = 0
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="This profile, such as 1g.10gb+me.")] = None
    gpu: Gpus = None
    model: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Only GPUs of this model; repeat for several.")
    ] = None
    policy: Annotated[Policy, typer.Option(help="From templates as HAMi does, or any legal placement.")] = (
        Policy.TEMPLATE
    )
    gpu_policy: Annotated[GpuPolicy, typer.Option(help="GPUs in use first, or idle ones first.")] = GpuPolicy.BINPACK
    memory_match: Annotated[
        MemoryMatch | None,
        typer.Option(help="Whose figure counts; by default the template's, and NVML's under --policy packed."),
    ] = None
    same_gpu: Annotated[bool, typer.Option("--same-gpu", help="Never spread over several GPUs.")] = False
    no_enable: Annotated[bool, typer.Option("--no-enable", help="Refuse GPUs whose MIG mode is off.")] = False
    reclaim_idle: Annotated[
        bool, typer.Option("--reclaim-idle", help="Allow to destroy idle instances that hamid did not make.")
    ] = False

    def request(self) -> Request:
        """The Request that these options spell; raises UsageError."""
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
