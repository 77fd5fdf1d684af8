# SPDX-License-Identifier: Apache-2.0
"""How many NVML mutations a change of layout takes: ours beside clear everything and create it again.

1,000 random transitions between legal layouts of an A100. The baseline does what mig-parted does: nothing where the
profiles are already the wanted ones, else it destroys every instance and creates all of the target; its retries with
other orders are not counted, so it is flattered. A mutation is one NVML call that creates or destroys a GPU or a
compute instance (two per instance). Also how long such a plan takes, beside counting what is creatable on the GPU.
With half of the instances in use the baseline fails as soon as one is; ours counts as done where nothing blocks it.
Run: .venv/bin/python benchmarks/transitions.py
"""

import json
import random
import statistics
import time
from collections import Counter

from msgspec.structs import replace

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import LayoutItem, Seat
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.offer import seats_of
from hamid.core.relayout.change import Change, GpuTarget, plan_change
from hamid.testing.boards import gpu_of

TRANSITIONS = 1000
BOARD = "A100-40GB"
# A GPU instance and its compute instance are one call each.
CALLS = 2


def random_layout(chance: random.Random) -> Gpu:
    """An A100 filled in random order until a random number of instances lies there or nothing fits."""
    gpu = gpu_of(BOARD)
    board = board_of(gpu.profiles)
    occupied = board.empty
    instances: list[Instance] = []
    for _ in range(chance.randint(1, 7)):
        free = [Seat(p, place) for p in board.profiles for place in board.free_placements(occupied, p)]
        if not free:
            break
        seat = chance.choice(free)
        occupied = board.add(occupied, seat)
        instances.append(
            Instance(
                profile=seat.profile.name,
                profile_id=seat.profile.profile_id,
                memory_mib=seat.profile.memory_mib,
                placement=seat.placement,
                gi_id=len(instances),
                compute_instances=1,
            )
        )
    return replace(gpu, instances=tuple(instances))


def names(gpu: Gpu) -> list[str]:
    """The profiles that lie there."""
    return [instance.profile for instance in gpu.instances]


def with_jobs(gpu: Gpu, chance: random.Random) -> Gpu:
    """The GPU with each instance in use at even odds."""
    return replace(gpu, instances=tuple(replace(each, used=chance.random() < 0.5) for each in gpu.instances))


def milliseconds(action: object) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    action()  # type: ignore[operator]
    return (time.perf_counter() - begin) * 1000


def creatable(gpu: Gpu) -> None:
    """The baseline of the time: what any planner must know."""
    board = board_of(gpu.profiles)
    board.creatable(board.occupy(seats_of(gpu, gpu.instances)))


def same(now: Gpu, wanted: list[str]) -> bool:
    """True when the baseline has nothing to do: the profiles are already the wanted ones."""
    return Counter(names(now)) == Counter(wanted)


def done(pairs: list[tuple[Gpu, list[str]]], chance: random.Random) -> dict[str, int]:
    """How many transitions succeed when each instance is in use at even odds."""
    busy = [(with_jobs(now, chance), wanted) for now, wanted in pairs]
    return {
        "done by us": sum(not plan(now, wanted).blocked for now, wanted in busy),
        "done by clear and recreate": sum(not now.used_instances or same(now, wanted) for now, wanted in busy),
    }


def plan(now: Gpu, wanted: list[str]) -> Change:
    """Our plan to these profiles, wherever they lie."""
    layout = tuple(LayoutItem(name) for name in wanted)
    return plan_change(Snapshot(gpus=(now,)), [GpuTarget(gpu_index=0, layout=layout)])


def main() -> None:
    """Count and time all transitions."""
    chance = random.Random(11)
    pairs = [(random_layout(chance), names(random_layout(chance))) for _ in range(TRANSITIONS)]
    times = [milliseconds(lambda now=now, wanted=wanted: plan(now, wanted)) for now, wanted in pairs]
    baseline = statistics.median(milliseconds(lambda now=now: creatable(now)) for now, _ in pairs)
    ours = CALLS * sum(len(plan(now, wanted).steps) for now, wanted in pairs)
    theirs = CALLS * sum(len(names(now)) + len(wanted) for now, wanted in pairs if not same(now, wanted))
    figures = {
        "transitions": TRANSITIONS,
        "mutations": {"ours": ours, "clear and recreate": theirs, "ratio": round(ours / theirs, 2)},
        "jobs in half of the instances": done(pairs, chance),
        "plan": {
            "median ms": round(statistics.median(times), 2),
            "p99 ms": round(sorted(times)[int(0.99 * TRANSITIONS)], 2),
            "slowest ms": round(max(times), 2),
            "median / what is creatable": round(statistics.median(times) / baseline, 1),
        },
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
