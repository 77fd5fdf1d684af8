# SPDX-License-Identifier: Apache-2.0
"""What libvgpu costs: the same client with and without it preloaded, on the simulated driver.

Differences in nanoseconds a call (medians of nine, the smallest of three runs), beside what is aimed at; the driver's
own time is the baseline, printed too. The same in instructions, which no other load disturbs. Also the size of the
file, the time of the first cuInit, and that of many processes at once. Run: .venv/bin/python benchmarks/libvgpu.py
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from hamid.node.paths import native_file
from hamid.node.simulation import control, lifecycle

SOURCE = Path(__file__).with_name("libvgpu.c")
LIBRARIES = str(Path(native_file("simulator/libcuda.so.1")).parent)
LIBRARY = str(next(Path(native_file("")).glob("libvgpu.so.*")))
RUNS = 3
PROCESSES = 128
THREADS = min(8, os.cpu_count() or 1)
ROWS = ("launch", "alloc+free", "alloc+free at 100,000 live", "cuMemGetInfo", "unhooked call")
COUNTED = ("launch", "pair", "info", "unhooked")
AIMS_NS = {"launch": 3, "alloc+free": 60, "alloc+free at 100,000 live": 60, "cuMemGetInfo": 10, "unhooked call": 0}


def environment(place: Path, *, preload: bool) -> dict[str, str]:
    """Of a client on that node, in a container or on the bare node."""
    variables = {"PATH": os.environ["PATH"], "HAMI_SIM_STATE": str(place / "node"), "LD_LIBRARY_PATH": LIBRARIES}
    if preload:
        variables |= {
            "LD_PRELOAD": LIBRARY,
            "CUDA_DEVICE_MEMORY_LIMIT_0": "20g",
            "CUDA_DEVICE_MEMORY_SHARED_CACHE": str(place / "vgpu.cache"),
        }
    return variables


def run(program: Path, place: Path, word: str, *, preload: bool) -> list[float]:
    """The figures of one client."""
    command = [str(program), word]
    output = subprocess.run(
        command, env=environment(place, preload=preload), check=True, capture_output=True, text=True
    ).stdout
    return [float(each) for each in output.split()]


def instructions(program: Path, place: Path, what: str, *, preload: bool) -> float:
    """Instructions a call by callgrind, of the client, libvgpu and the driver together: the difference of two runs."""
    totals = []
    for count in (5_000, 25_000):
        output = place / "callgrind"
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={output}",
            str(program),
            "loop",
            what,
            str(count),
        ]
        subprocess.run(command, env=environment(place, preload=preload), check=True, capture_output=True)
        (summary,) = [line for line in output.read_text().splitlines() if line.startswith(("summary:", "totals:"))][:1]
        totals.append(int(summary.split()[1]))
    return (totals[1] - totals[0]) / 20_000


def at_once(program: Path, place: Path, *, preload: bool) -> float:
    """Seconds until so many processes have initialised."""
    begin = time.perf_counter()
    started = [
        subprocess.Popen([str(program), "init"], env=environment(place, preload=preload), stdout=subprocess.DEVNULL)
        for _ in range(PROCESSES)
    ]
    assert {each.wait() for each in started} == {0}
    return time.perf_counter() - begin


def measure(place: Path) -> dict[str, dict[bool, list[float]]]:
    """Everything, by what and by whether libvgpu was there."""
    program = place / "client"
    subprocess.run(["cc", "-std=gnu11", "-O2", "-pthread", "-o", program, SOURCE, "-ldl"], check=True)
    control.preload()
    lifecycle.up(place / "node", "1xA30")
    best: dict[bool, list[float]] = {}
    for _ in range(RUNS):
        for preload in (False, True):
            found = run(program, place, str(THREADS), preload=preload)
            best[preload] = [min(pair) for pair in zip(best.get(preload, found), found, strict=True)]
    attach = {p: [min(run(program, place, "init", preload=p)[0] for _ in range(20))] for p in (False, True)}
    many = {p: [at_once(program, place, preload=p)] for p in (False, True)}
    counted = {
        what: {preload: [instructions(program, place, what, preload=preload)] for preload in (False, True)}
        for what in (COUNTED if shutil.which("valgrind") else ())
    }
    lifecycle.down(place / "node")
    return {"calls": best, "attach": attach, "many": many, **counted}


def beside(found: dict[bool, list[float]], row: int, *, unit: float = 1.0, aim: float | None) -> dict[str, float]:
    """One figure: the driver's own, what was added, and what is aimed at, if anything."""
    bare, ours = found[False][row] / unit, found[True][row] / unit
    aimed = {} if aim is None else {"aim": aim}
    return {"driver": round(bare, 2), "added": round(ours - bare, 2), **aimed, "ratio": round(ours / bare, 2)}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    calls = found["calls"]
    figures = {
        "ns a call": {name: beside(calls, row, aim=AIMS_NS[name]) for row, name in enumerate(ROWS)},
        "instructions a call": {what: beside(found[what], 0, aim=None) for what in COUNTED if what in found}
        or "valgrind is not installed here",
        f"pairs a second, {THREADS} threads / 1 thread": {
            "driver": round(calls[False][6] / calls[False][5], 2),
            "with libvgpu": round(calls[True][6] / calls[True][5], 2),
        },
        "cuInit, us": beside(found["attach"], 0, unit=1000, aim=100),
        f"{PROCESSES} processes initialise, s": beside(found["many"], 0, aim=0.3),
        "size, KiB": {"library": round(Path(LIBRARY).stat().st_size / 1024, 1), "aim": 100},
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
