# SPDX-License-Identifier: Apache-2.0
"""hamid as a process on 16 simulated A100, beside the NVML calls and fsyncs that the same work needs anyway.

Allocate goes through the plugin's socket: 112 containers get seven 1g each on 16 GPUs. The baseline is one GPU instance
with its compute instance by bare NVML and two fsyncs of a page on the same disk, the least that is safe from crashes.
Then: a scrape with everything granted, the list of devices after a reload, idle CPU, memory after cycles of pods that
come and go (--cycles 10000 takes its time), and how long READY and a restart take.
Run: .venv/bin/python benchmarks/daemon.py [--cycles N]
"""

import argparse
import contextlib
import ctypes
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import pynvml

from hamid.node.ledger.reader import read_facts
from hamid.node.paths import Paths
from hamid.node.simulation import control, lifecycle
from hamid.testing.kubelet import ContainerSpec, Kubelet, PodSpec
from hamid.testing.kubelet_sockets import Plugin

HAMID = Path(sys.executable).with_name("hamid")
GPUS, PARTS = 16, 7
IDLE_SECONDS = 10.0
SCRAPES = 60
BATCH = 50
Figures = dict[str, Any]


class Daemon:
    """hamid over a node and a kubelet stand-in."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "node"
        lifecycle.up(self.state, f"{GPUS}xA100-SXM4-40GB")
        self.root = lifecycle.root_of(self.state)
        self.kubelet = Kubelet(folder / "k")
        self.kubelet.start()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.notify.settimeout(0.5)
        self.log = (folder / "log").open("wb")
        self.process: subprocess.Popen[bytes] | None = None
        self.listener: threading.Thread | None = None

    def configure(self, **settings: object) -> None:
        """Writes hamid.yaml."""
        told = {
            "mode": "mig",
            "policy": "packed",
            "memory_match": "nvml",
            "default_memory_mib": 4000,
            "kubelet_settle_seconds": 0,
            # No source names the holders here, so nothing may be released during the measurement.
            "absent_seconds": 600,
            "metrics_address": f"127.0.0.1:{self.port}",
            **settings,
        }
        file = self.root / "etc/hami/hamid.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in told.items()))

    def start(self) -> tuple[float, float]:
        """Milliseconds to READY and to the first list of devices."""
        if self.listener is not None:
            # It would take the next process's READY for itself.
            self.listener.join()
        begin = time.perf_counter()
        command = [str(HAMID), "--sim", str(self.state), "--kubelet-root", str(self.kubelet.root)]
        environment = {**os.environ, "NOTIFY_SOCKET": self.notify.getsockname()}
        self.process = subprocess.Popen(command, stderr=self.log, env=environment)
        while not self._is_ready():
            pass
        ready = time.perf_counter() - begin
        self.listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self.listener.start()
        self.kubelet.wait_for(1, 30)
        return ready * 1000, (time.perf_counter() - begin) * 1000

    def _is_ready(self) -> bool:
        try:
            return b"READY=1" in self.notify.recv(4096)
        except TimeoutError:
            return False

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        """A service manager reads what it is told."""
        while process.poll() is None:
            with contextlib.suppress(TimeoutError):
                self.notify.recv(4096)

    def stop(self) -> float:
        """Milliseconds of an end."""
        assert self.process is not None
        begin = time.perf_counter()
        self.process.terminate()
        self.process.wait(30)
        return (time.perf_counter() - begin) * 1000

    def signal(self, number: int) -> None:
        """To the running process."""
        assert self.process is not None
        self.process.send_signal(number)

    def cpu_seconds(self) -> float:
        """User and system time until now."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Resident memory."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def close(self) -> None:
        """All ends."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.kubelet.stop()
        lifecycle.down(self.state)


def milliseconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


def spread(values: list[float]) -> Figures:
    """Median and 99th percentile."""
    return {"p50": round(statistics.median(values), 2), "p99": round(statistics.quantiles(values, n=100)[98], 2)}


def two_fsyncs(file: FileIO) -> None:
    """What writing down a begin and an end must cost on this disk."""
    for _ in range(2):
        file.write(bytes(4096))
        os.fsync(file.fileno())


def floor(folder: Path) -> Figures:
    """What an instance by bare NVML and two fsyncs take here, in milliseconds."""
    state = folder / "bare"
    lifecycle.up(state, "1xA100-SXM4-40GB")
    os.environ["HAMI_SIM_STATE"] = str(state)
    nvml, disk = [], []
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    pynvml.nvmlDeviceSetMigMode(device, 1)

    def make(start: int) -> None:
        place = pynvml.c_nvmlGpuInstancePlacement_t(start=start, size=1)
        instance = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(device, 19, ctypes.byref(place))
        pynvml.nvmlGpuInstanceCreateComputeInstance(instance, 0)

    with (folder / "page").open("wb", buffering=0) as file:
        for start in range(PARTS):
            nvml.append(milliseconds(partial(make, start)))
            disk += [milliseconds(lambda: two_fsyncs(file)) for _ in range(10)]
    pynvml.nvmlShutdown()
    lifecycle.down(state)
    return {"NVML": round(statistics.median(nvml), 3), "two fsyncs": round(statistics.median(disk), 3)}


def allocations(daemon: Daemon) -> list[float]:
    """112 Allocate calls, one after the other as kubelet makes them."""
    plugin = Plugin(daemon.kubelet.folder / "hami-gpu.sock", None, old=False)
    uuids = sorted({each.rpartition("-")[0] for each in daemon.kubelet.healthy})
    ids = [f"{uuid}-{number}" for number in range(PARTS) for uuid in uuids]
    times = [milliseconds(partial(plugin.allocate, [each])) for each in ids]
    plugin.close()
    return times


def scrapes(daemon: Daemon) -> list[float]:
    """Each on a connection of its own, as Prometheus may."""
    url = f"http://127.0.0.1:{daemon.port}/metrics"

    def scrape() -> None:
        with urllib.request.urlopen(url, timeout=10) as answer:
            answer.read()

    return [milliseconds(scrape) for _ in range(SCRAPES)]


def reload(daemon: Daemon) -> float:
    """From SIGHUP to the changed list at kubelet: another split count."""
    daemon.configure(split_count=PARTS + 1)
    wanted = GPUS * (PARTS + 1)

    def change() -> None:
        daemon.signal(signal.SIGHUP)
        until = time.monotonic() + 30
        while len(daemon.kubelet.healthy) != wanted:
            assert time.monotonic() < until, f"{len(daemon.kubelet.healthy)} devices, not {wanted}"
            time.sleep(0.001)

    return milliseconds(change)


def cycles(daemon: Daemon, count: int) -> list[float]:
    """Resident MiB after each tenth of so many pods that came and went."""
    memory = []
    paths = Paths(str(daemon.root))
    for batch in range(max(count // BATCH, 1)):
        spec = [ContainerSpec(limits={daemon.kubelet.resource: "1"})]
        uids = [daemon.kubelet.add_pod(PodSpec(name=f"p{batch}-{each}", containers=spec)) for each in range(BATCH)]
        for uid in uids:
            daemon.kubelet.finish_pod(uid)
        while read_facts(paths).claims:
            time.sleep(0.05)
        for uid in uids:
            daemon.kubelet.delete_pod(uid)
        memory.append(daemon.memory_mib())
    step = max(len(memory) // 10, 1)
    return [round(each, 1) for each in memory[::step]]


def measure(folder: Path, count: int) -> Figures:
    """Everything, in one run."""
    least = floor(folder)
    daemon = Daemon(folder)
    daemon.configure()
    ready, first_list = daemon.start()
    daemon.kubelet.wait_for(GPUS * PARTS, 60)
    allocate = allocations(daemon)
    scraped = scrapes(daemon)
    before = daemon.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    idle = 100 * (daemon.cpu_seconds() - before) / IDLE_SECONDS
    figures: Figures = {
        "ms to READY, to the first list": [round(ready), round(first_list)],
        "Allocate ms": spread(allocate),
        "least ms": least,
        "Allocate p50 / (NVML + two fsyncs)": round(statistics.median(allocate) / sum(least.values()), 2),
        "scrape ms": spread(scraped),
        "idle CPU % of a core": round(idle, 2),
        "resident MiB with 112 claims": round(daemon.memory_mib(), 1),
        "SIGHUP to changed list ms": round(reload(daemon), 1),
    }
    figures["stop ms"] = round(daemon.stop())
    figures["restart to first list ms (112 claims)"] = round(daemon.start()[1])
    daemon.close()
    return {**figures, **churn(folder, count)}


def churn(folder: Path, count: int) -> Figures:
    """Memory over pods that come and go, on a node of its own."""
    place = folder / "churn"
    place.mkdir()
    daemon = Daemon(place)
    daemon.configure(pods_source="file", pods_file=str(daemon.kubelet.pods_file), reconcile_seconds=0.2)
    daemon.start()
    daemon.kubelet.wait_for(GPUS * PARTS, 60)
    memory = cycles(daemon, count)
    daemon.close()
    return {"pods that came and went": count, "resident MiB over them": memory}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="hamid as a process, beside the least that its work needs")
    parser.add_argument("--cycles", type=int, default=300, help="pods that come and go for the figure of memory")
    options = parser.parse_args()
    control.preload()
    with tempfile.TemporaryDirectory(prefix="hb") as folder:
        print(json.dumps(measure(Path(folder), options.cycles), indent=2))


if __name__ == "__main__":
    main()
