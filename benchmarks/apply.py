# SPDX-License-Identifier: Apache-2.0
"""What a step of a change costs beside the NVML calls that it makes, and beside the same with its journal's fsyncs.

A simulated A100 is filled with seven instances and cleared, again and again: by `engine.apply` (lock, observation,
journal, device nodes, verification) and by bare NVML calls in the same order. A step is one instance created or
destroyed, which is two NVML calls. The journal writes before and after every step, so two fsyncs on the same disk are
the least that a crash-safe tool can pay; they are measured by themselves. Figures are medians per step.
On hardware a create takes some 100 ms and more, beside which this is nothing. Plans are timed by
benchmarks/planning.py and transitions.py; mutations beside clear-and-recreate are counted by transitions.py.
Run: .venv/bin/python benchmarks/apply.py
"""

import ctypes
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pynvml

from hamid.core.hardware.geometry import parse_layout
from hamid.core.relayout.change import GpuTarget, plan_change
from hamid.engine.driver.observe import observe
from hamid.engine.steps.apply import apply
from hamid.node.paths import Paths
from hamid.node.simulation import control, lifecycle

ROUNDS = 40
INSTANCES = 7
PROFILE = 19  # 1g.5gb on an A100
FULL = ",".join(f"1g.5gb@{start}" for start in range(INSTANCES))


def milliseconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


def ours(paths: Paths, layout: str) -> None:
    """One change by the engine, with its plan."""
    target = GpuTarget(gpu_index=0, mig_enabled=True, layout=parse_layout(layout) if layout else ())
    found = plan_change(observe(paths), [target])
    apply(paths, found.steps, fingerprint=found.fingerprint)


def bare_fill() -> None:
    """Seven instances by NVML alone."""
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    for start in range(INSTANCES):
        place = pynvml.c_nvmlGpuInstancePlacement_t(start=start, size=1)
        instance = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(device, PROFILE, ctypes.byref(place))
        pynvml.nvmlGpuInstanceCreateComputeInstance(instance, 0)


def bare_clear() -> None:
    """The seven destroyed by NVML alone."""
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    count = ctypes.c_uint()
    instances = (pynvml.c_nvmlGpuInstance_t * INSTANCES)()
    pynvml.nvmlDeviceGetGpuInstances(device, PROFILE, instances, ctypes.byref(count))
    for instance in instances:
        parts = (pynvml.c_nvmlComputeInstance_t * 1)()
        pynvml.nvmlGpuInstanceGetComputeInstances(instance, 0, parts, ctypes.byref(count))
        pynvml.nvmlComputeInstanceDestroy(parts[0])
        pynvml.nvmlGpuInstanceDestroy(instance)


def two_fsyncs(file: int) -> None:
    """What journaling one step must cost on this disk."""
    for _ in range(2):
        os.write(file, bytes(4096))
        os.fsync(file)


def measure(folder: Path) -> dict[str, float]:
    """Medians per step in milliseconds."""
    state = folder / "node"
    lifecycle.up(state, "1xA100-SXM4-40GB")
    os.environ["HAMI_SIM_STATE"] = str(state)
    paths = Paths(str(lifecycle.root_of(state)))
    ours(paths, "")  # the mode is on from here
    rows: dict[str, list[float]] = {
        "create": [],
        "destroy": [],
        "create bare": [],
        "destroy bare": [],
        "two fsyncs": [],
    }
    with (folder / "log").open("wb") as log:
        for _ in range(ROUNDS):
            rows["create"].append(milliseconds(lambda: ours(paths, FULL)))
            rows["destroy"].append(milliseconds(lambda: ours(paths, "")))
            pynvml.nvmlInit()
            rows["create bare"].append(milliseconds(bare_fill))
            rows["destroy bare"].append(milliseconds(bare_clear))
            pynvml.nvmlShutdown()
            rows["two fsyncs"].append(INSTANCES * milliseconds(lambda: two_fsyncs(log.fileno())))
    lifecycle.down(state)
    return {name: statistics.median(values) / INSTANCES for name, values in rows.items()}


def main() -> None:
    """Measure and print."""
    control.preload()
    with tempfile.TemporaryDirectory() as folder:
        per_step = measure(Path(folder))
    floor = {name: per_step[f"{name} bare"] + per_step["two fsyncs"] for name in ("create", "destroy")}
    figures = {
        "rounds": ROUNDS,
        "steps in a change": INSTANCES,
        "ms per step": {name: round(value, 3) for name, value in per_step.items()},
        "overhead ms beside the NVML calls": {
            name: round(per_step[name] - per_step[f"{name} bare"], 3) for name in floor
        },
        "ours / (NVML calls + two fsyncs)": {name: round(per_step[name] / least, 2) for name, least in floor.items()},
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
