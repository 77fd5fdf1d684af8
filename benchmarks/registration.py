# SPDX-License-Identifier: Apache-2.0
"""How soon kubelet has the plugin's devices again, beside one answered call of kubelet's over the same socket.

Cases: the plugin starts; kubelet restarts and wipes its folder; the plugin's socket is removed; the folder comes
back; the list of devices changes; the plugin ends. The baseline is one answered call over an open connection, the
least that news of any kind takes. The plugin looks twice a second, so the cases of which it gets no news take about
that long. Figures are medians in milliseconds.
Run: .venv/bin/python benchmarks/registration.py [--runs 5]
"""

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from hamid.core.claims.device_ids import PluginDevice
from hamid.core.claims.grant import Grant
from hamid.core.planner.refusal import Refusal
from hamid.serve.plugin.registration import DevicePlugin
from hamid.testing.kubelet import Kubelet
from hamid.testing.kubelet_sockets import Plugin

DEVICES = 14
CALLS = 20
LONGEST_SECONDS = 60.0


class PlainNode:
    """Devices and nothing else."""

    def __init__(self) -> None:
        self.listed = tuple(
            PluginDevice(device_id=f"GPU-0-{number}", gpu_uuid="GPU-0", healthy=True, numa_node=None)
            for number in range(DEVICES)
        )

    def devices(self) -> tuple[PluginDevice, ...]:
        """The list for kubelet."""
        return self.listed

    def prefer(self, available: tuple[str, ...], must_include: tuple[str, ...], size: int) -> tuple[str, ...]:
        """The first ones."""
        return (*must_include, *available)[:size]

    def allocate(self, device_ids: tuple[str, ...], *, deadline_seconds: float | None = None) -> Grant | Refusal:
        """A grant of nothing."""
        return Grant(claim=len(device_ids), envs={})

    def undo(self, claim: int) -> None:
        """Nothing was made."""

    def claim_name(self, claim: int) -> str:
        """Its number."""
        return str(claim)

    def prestart(self, device_ids: tuple[str, ...]) -> Refusal | None:
        """Every container may start."""


class Serving:
    """A device plugin on a thread of its own; `plugin` once it runs."""

    def __init__(self, node: PlainNode, folder: Path) -> None:
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(node, folder),))
        self._thread.start()
        self._ready.wait(LONGEST_SECONDS)

    async def _run(self, node: PlainNode, folder: Path) -> None:
        self.plugin = DevicePlugin(
            node, kubelet_dir=folder, log=structlog.wrap_logger(structlog.testing.CapturingLogger())
        )
        self._task = asyncio.create_task(self.plugin.run())
        self._ready.set()
        await asyncio.wait([self._task])

    def stop(self) -> None:
        """Ends the plugin and waits for it."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        self._loop.close()


def milliseconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


def wait(condition: Callable[[], object]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.0005)


def bare_call(kubelet: Kubelet) -> float:
    """Milliseconds of one answered call."""
    plugin = Plugin(kubelet.folder / "hami-gpu.sock", None, old=False)
    plugin.prestart([])
    times = [milliseconds(lambda: plugin.prestart([])) for _ in range(CALLS)]
    plugin.close()
    return statistics.median(times)


def one_run(folder: Path) -> dict[str, float]:
    """Each case once."""
    found, node = {}, PlainNode()
    with Kubelet(folder) as kubelet:
        begin = time.perf_counter()
        serving = Serving(node, folder)
        kubelet.wait_for(DEVICES, LONGEST_SECONDS)
        found["start"] = (time.perf_counter() - begin) * 1000
        found["one call"] = bare_call(kubelet)
        kubelet.restart()
        found["kubelet restarts"] = milliseconds(lambda: kubelet.wait_for(DEVICES, LONGEST_SECONDS))
        registered = kubelet.registrations
        (kubelet.folder / "hami-gpu.sock").unlink()
        found["socket removed"] = milliseconds(
            lambda: wait(lambda: kubelet.registrations > registered and len(kubelet.healthy) == DEVICES)
        )
        kubelet.stop()
        shutil.rmtree(kubelet.folder)
        wait(lambda: "does not exist" in serving.plugin.state.problem)
        kubelet.start()
        found["folder comes back"] = milliseconds(lambda: kubelet.wait_for(DEVICES, LONGEST_SECONDS))
        node.listed = node.listed[:1]
        serving.plugin.changed()
        found["list changes"] = milliseconds(lambda: wait(lambda: len(kubelet.healthy) == 1))
        found["end"] = milliseconds(serving.stop)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="how soon kubelet has the plugin's devices")
    parser.add_argument("--runs", type=int, default=5)
    runs = []
    for _ in range(parser.parse_args().runs):
        with tempfile.TemporaryDirectory(prefix="hr") as folder:
            runs.append(one_run(Path(folder)))
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    floor = medians["one call"]
    print(
        json.dumps(
            {name: {"ms": round(ms, 1), "ratio": round(ms / floor, 1)} for name, ms in medians.items()}, indent=2
        )
    )


if __name__ == "__main__":
    main()
