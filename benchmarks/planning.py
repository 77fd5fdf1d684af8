# SPDX-License-Identifier: Apache-2.0
"""How long a whole plan takes on a 16-GPU node with random occupancy, beside one pass over its GPUs and profiles.

The baseline counts what is creatable on every GPU, which any planner must know. In process, no driver involved.
Run: .venv/bin/python benchmarks/planning.py
"""

import json
import random
import statistics
import time

from msgspec.structs import replace

from hamid.core.hardware.board import board_of
from hamid.core.hardware.geometry import Seat
from hamid.core.hardware.gpu import Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.decide import decide
from hamid.core.planner.offer import seats_of
from hamid.core.planner.request import Policy, make_request
from hamid.core.units import Memory
from hamid.node.config.files import builtin_templates
from hamid.testing.boards import gpu_of

GPUS = 16
NODES = 200
AIMS_MS = {1: 1.0, 7: 20.0}


def random_node(chance: random.Random) -> Snapshot:
    """16 GPUs of a kind, each with up to five used instances at random legal places."""
    gpus = []
    for index in range(GPUS):
        gpu = gpu_of("A100-40GB", index=index)
        board = board_of(gpu.profiles)
        occupancy = board.empty
        instances: list[Instance] = []
        for _ in range(chance.randrange(6)):
            profile = chance.choice([p for p in board.profiles if not p.suffix])
            places = board.free_placements(occupancy, profile)
            if places:
                place = chance.choice(places)
                occupancy = board.add(occupancy, Seat(profile, place))
                used = Instance(
                    profile=profile.name,
                    profile_id=profile.profile_id,
                    memory_mib=profile.memory_mib,
                    placement=place,
                    gi_id=len(instances),
                    used=True,
                )
                instances.append(used)
        gpus.append(replace(gpu, instances=tuple(instances)))
    return Snapshot(gpus=tuple(gpus))


def milliseconds(action: object) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    action()  # type: ignore[operator]
    return (time.perf_counter() - begin) * 1000


def pass_over(node: Snapshot) -> None:
    """The baseline: what could still be created on every GPU."""
    for gpu in node.gpus:
        board = board_of(gpu.profiles)
        board.creatable(board.occupy(seats_of(gpu, gpu.instances)))


def main() -> None:
    """Time both policies for one and seven instances over the same nodes."""
    chance = random.Random(7)
    nodes = [random_node(chance) for _ in range(NODES)]
    table = builtin_templates()
    baseline = statistics.median(milliseconds(lambda node=node: pass_over(node)) for node in nodes)
    rows = {}
    for policy in Policy:
        for count, aim in AIMS_MS.items():
            request = make_request(count=count, memory=Memory(mib=4000), policy=policy)
            times = [milliseconds(lambda node=node, r=request: decide(r, node, table)) for node in nodes]
            rows[f"{policy}, {count} instances"] = {
                "median ms": round(statistics.median(times), 2),
                "p90 ms": round(sorted(times)[int(0.9 * NODES)], 2),
                "aim ms": aim,
                "median / baseline": round(statistics.median(times) / baseline, 1),
            }
    print(json.dumps({"nodes": NODES, "baseline ms": round(baseline, 2), "plans": rows}, indent=2))


if __name__ == "__main__":
    main()
