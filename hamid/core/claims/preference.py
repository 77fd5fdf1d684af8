# SPDX-License-Identifier: Apache-2.0
"""GetPreferredAllocation: which of the free device ids kubelet should give to a container."""

from collections import Counter
from collections.abc import Sequence

from hamid.core.claims.allocate import Choice, Reserved, choose
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.device_ids import gpu_of
from hamid.core.config.config import Config
from hamid.core.hardware.gpu import Gpu


def prefer(
    reserved: Reserved, config: Config, wanted: ContainerRequest, available: Sequence[str], must_include: Sequence[str]
) -> tuple[str, ...]:
    """As many of the available ids as are asked for, on the GPUs that `choose` would take."""
    homes = {each: gpu_of(each) for each in (*must_include, *available)}
    free = sorted(set(available) - set(must_include), key=lambda each: (homes[each], len(each), each))
    choice = choose(reserved, config, wanted, must_include or free)
    first = (
        [each.seat.gpu_uuid for each in choice.seats] + [each.gpu_uuid for each in choice.shares]
        if isinstance(choice, Choice)
        else []
    )
    by_gpu: dict[str, list[str]] = {}
    for each in reversed(free):
        by_gpu.setdefault(homes[each], []).append(each)
    chosen = list(must_include)
    for uuid in [*first, *(gpu.uuid for gpu in _busiest_first(reserved)), *(homes[each] for each in free)]:
        if len(chosen) >= wanted.count:
            break
        spread = isinstance(choice, Choice) and bool(choice.shares) and uuid in {homes[each] for each in chosen}
        if by_gpu.get(uuid) and not spread:
            chosen.append(by_gpu[uuid].pop())
    taken = set(chosen)
    rest = [each for each in free if each not in taken]
    return tuple([*chosen, *rest][: max(wanted.count, len(must_include))])


def _busiest_first(reserved: Reserved) -> list[Gpu]:
    users = Counter(uuid for claim in reserved.facts.claims for uuid in claim.gpu_uuids)
    return sorted(reserved.gpus, key=lambda gpu: (-users[gpu.uuid], gpu.index))
