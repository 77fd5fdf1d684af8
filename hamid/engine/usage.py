# SPDX-License-Identifier: Apache-2.0
"""What containers with shares really use, as their libvgpu accounts for it. Figures of the containers' own making."""

from collections.abc import Iterable, Iterator, Mapping

from hamid.core.claims import Claim
from hamid.core.config import Config
from hamid.core.region import Region, RegionProcess
from hamid.engine import folders
from hamid.node.paths import Paths
from hamid.node.region import find_regions, is_held, read_region


def used_bytes(paths: Paths, config: Config, claims: Iterable[Claim]) -> Mapping[str, tuple[int, ...]]:
    """By claim the bytes on each of its devices, in the container's order; without any use of CUDA it has none."""
    found: dict[str, tuple[int, ...]] = {}
    for claim in claims:
        if claim.owner is None or not claim.shares:
            continue
        files = find_regions(folders.path_of(paths, config, claim.owner))
        known = [(path, region) for path in files if isinstance(region := read_region(path), Region)]
        if known:
            living = [each for path, region in known for each in _living(path, region)]
            found[claim.name] = tuple(sum(each.used_bytes[n] for each in living) for n in range(len(claim.shares)))
    return found


def _living(path: str, region: Region) -> Iterator[RegionProcess]:
    """Those of whom nobody can say that they are dead."""
    return (each for each in region.processes if each.foreign or is_held(path, each.slot) is not False)
