# SPDX-License-Identifier: Apache-2.0
"""The usage of containers with shares, as libvgpu accounts for it. The containers write these figures themselves."""

from collections.abc import Iterable, Iterator, Mapping

from hamid.core.claims.claim import Claim
from hamid.core.config.config import Config
from hamid.core.library.region import ContainerUse, Region, RegionProcess, Use
from hamid.engine.pods import share_folders
from hamid.node.library.region import find_regions, is_held, read_region
from hamid.node.paths import Paths


def in_use(paths: Paths, config: Config, claims: Iterable[Claim]) -> Mapping[int, ContainerUse]:
    """The usage of each claim's container, by claim id; none for containers that have not used CUDA."""
    found: dict[int, ContainerUse] = {}
    for claim in claims:
        if claim.owner is None or not claim.shares:
            continue
        files = find_regions(share_folders.path_of(paths, config, claim.owner))
        known = [(path, region) for path in files if isinstance(region := read_region(path), Region)]
        if known:
            living = [each for path, region in known for each in _living(path, region)]
            found[claim.id] = ContainerUse(
                devices=tuple(sum((each.used[n] for each in living), Use()) for n in range(len(claim.shares))),
                tells_cores=any(each.foreign for each in living),
                last_kernel_at=max(region.last_kernel_at for _, region in known),
            )
    return found


def _living(path: str, region: Region) -> Iterator[RegionProcess]:
    """The processes that are not known to be dead."""
    return (each for each in region.processes if each.foreign or is_held(path, each.slot) is not False)
