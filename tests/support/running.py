# SPDX-License-Identifier: Apache-2.0
"""hamid as a process on a simulated node, with a kubelet stand-in."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from hamid.engine.driver.observe import observe
from hamid.node.ledger.reader import read_facts
from hamid.node.paths import Paths
from hamid.node.simulation import control, lifecycle
from hamid.testing.kubelet import ContainerSpec, Kubelet, PodSpec
from support.narrow import present
from support.waiting import LIMIT_SECONDS, until

HAMID = Path(sys.executable).with_name("hamid")
RESOURCE = "nvidia.com/gpu"
SETTINGS = {"mode": "mig", "pods_source": "file", "kubelet_settle_seconds": 0, "reconcile_seconds": 0.2}
control.preload()


def figure(node, name):
    """The sum of a metric's series, as hamid serves it now; None where there is none."""
    lines = [line for line in node.get("/metrics")[1].splitlines() if re.match(rf"{name}[{{ ]", line)]
    return sum(float(line.rpartition(" ")[2]) for line in lines) if lines else None


class Hamid:
    """One simulated node, its kubelet stand-in, and hamid processes over them."""

    def __init__(self, folder, spec):
        self.state = folder / "node"
        lifecycle.up(self.state, spec)
        self.root = lifecycle.root_of(self.state)
        self.paths = Paths(str(self.root))
        self.kubelet = Kubelet(folder / "k")
        self.process = None
        self.log = folder / "log"
        self.begun = 0
        self.configure()

    def configure(self, **settings):
        """Writes hamid.yaml."""
        file = self.root / "etc/hami/hamid.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        told = {"pods_file": str(self.kubelet.pods_file), "metrics_address": "127.0.0.1:0", **SETTINGS, **settings}
        temporary = file.with_suffix(".new")
        temporary.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in told.items()))
        temporary.replace(file)

    def command(self, *words):
        return [str(HAMID), "--sim", str(self.state), "--kubelet-root", str(self.kubelet.root), *words]

    def run(self, *words, **environment):
        """Hamid as a command."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
            env={**os.environ, **environment},
        )

    def start(self, *words, **environment):
        """Hamid as a daemon."""
        with self.log.open("ab") as log:
            self.begun = log.tell()
            self.process = subprocess.Popen(self.command(*words), stderr=log, env={**os.environ, **environment})
        return self

    def stop(self, number=signal.SIGTERM, seconds=LIMIT_SECONDS):
        """Ends it; the exit status, once kubelet too has seen that it is gone."""
        present(self.process).send_signal(number)
        status = present(self.process).wait(seconds)
        until(lambda: not self.kubelet.healthy)
        return status

    def events(self, name):
        """What it logged under this name since it was started last."""
        lines = self.log.read_bytes()[self.begun :].decode().splitlines() if self.log.exists() else []
        return [each for line in lines if line.startswith("{") and (each := json.loads(line))["event"] == name]

    def get(self, path):
        """Status and text of its web."""
        port = until(lambda: self.events("metrics_serving"))[-1]["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def reconciled(self, times=2):
        """Waits until so many reconciliations that began after this moment have ended."""
        name = "hamid_reconcile_duration_seconds_count"
        ended = figure(self, name) or 0
        # One may have begun before.
        until(lambda: (figure(self, name) or 0) > ended + times)

    def add(self, name, *, memory=4000, count=1, containers=None):
        """A pod that asks for so many devices with so much memory each; its uid."""
        made = containers or [ContainerSpec(limits={RESOURCE: str(count)})]
        return self.kubelet.add_pod(PodSpec(name=name, annotations={"nvidia.com/gpumem": str(memory)}, containers=made))

    def uuids(self, uid):
        """The MIG UUIDs that the pod's main container was given."""
        return self.kubelet.grant(uid, "main").envs["NVIDIA_VISIBLE_DEVICES"].split(",")

    def instances(self):
        """Every instance of the node, by MIG UUID."""
        return {each.mig_uuid: each for gpu in self.gpus() for each in gpu.instances}

    def gpus(self):
        """Every GPU as NVML shows it now."""
        os.environ["HAMI_SIM_STATE"] = str(self.state)
        return observe(self.paths).gpus

    def facts(self):
        return read_facts(self.paths)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.kubelet.stop()
        lifecycle.down(self.state)
