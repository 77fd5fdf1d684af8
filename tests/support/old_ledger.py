# SPDX-License-Identifier: Apache-2.0
"""Makes the ledgers of a release, as SQL: `old_ledger.py BIN TARGET`, where BIN holds that release's programs.

Writes per ledger `TARGET/NAME-vN.sql`, N being the schema's version, and beside it `NAME-vN.json`, which is what
`hamictl alloc list` of that release says of it. The commands alone are used, so that any release can be asked.
"""

import contextlib
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

SPEC = "3xA100-SXM4-40GB,1xA30"
SHARED = 2
SHARE = {"vgpu-mode": "hami-core"}
FOREIGN = """
import ctypes
import pynvml
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(1)
pynvml.nvmlDeviceSetMigMode(gpu, 1)
place = pynvml.c_nvmlGpuInstancePlacement_t(4, 2)
made = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(gpu, 14, ctypes.byref(place))
pynvml.nvmlGpuInstanceCreateComputeInstance(made, 1)
"""
CREATE, DESTROY = "nvmlDeviceCreateGpuInstanceWithPlacement", "nvmlGpuInstanceDestroy"


class Release:
    """A simulated node with a kubelet, on which one release's programs run."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.state, self.kubelet_root = folder / "node", folder / "kubelet"
        self.root = folder / "node.d"
        self.hamid: subprocess.Popen[bytes] | None = None
        self.ctl("sim", "up", "--node", SPEC, "--state", str(self.state))
        library = self.root / "usr/local/vgpu"
        library.mkdir(parents=True)
        (library / "libvgpu.so").write_bytes(b"\x7fELF")
        (library / "ld.so.preload").write_text("/usr/local/vgpu/libvgpu.so\n")
        command = [str(programs / "python"), "-m", "hamid.testing.kubelet", "--root", str(self.kubelet_root), "serve"]
        self.kubelet = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until((self.kubelet_root / "stand-in.sock").exists)

    def ctl(self, *words: str, check: bool = True) -> str:
        """What hamictl says."""
        command = [str(self.programs / "hamictl"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=check).stdout

    def node(self, *words: str, check: bool = True) -> str:
        """The same of this node."""
        return self.ctl("--sim", str(self.state), *words, check=check)

    def foreign_instance(self) -> None:
        """Another program makes an instance."""
        exports = self.ctl("sim", "env", "--state", str(self.state))
        subprocess.run(["sh", "-c", f'{exports}\nexec "$@"', "sh", self.programs / "python", "-c", FOREIGN], check=True)

    def ask(self, *words: str, check: bool = True) -> str:
        """What the kubelet says."""
        command = [str(self.programs / "python"), "-m", "hamid.testing.kubelet", "--root", str(self.kubelet_root)]
        return subprocess.run([*command, *words], capture_output=True, text=True, check=check).stdout

    def pod(
        self, name: str, memory: int, annotations: Mapping[str, str] = {}, *, count: int = 1, check: bool = True
    ) -> str:
        """Kubelet admits a pod."""
        told = {"vgpu-mode": "mig", "gpumem": str(memory), **annotations}
        words = [word for key, value in told.items() for word in ("--annotation", f"nvidia.com/{key}={value}")]
        return self.ask("run", name, "--limit", f"nvidia.com/gpu={count}", *words, check=check)

    def start(self, devices: int, **settings: object) -> None:
        """Hamid runs and offers so many devices."""
        told = {
            "mode": "mig",
            "policy": "packed",
            "memory_match": "nvml",
            "gpu_modes": {str(SHARED): "hami-core"},
            "pods_source": "file",
            "pods_file": str(self.kubelet_root / "pods.json"),
            "metrics_address": "",
            "kubelet_settle_seconds": 0,
            "reconcile_seconds": 0.2,
            "driver_timeout_seconds": 2,
            **settings,
        }
        file = self.root / "etc/hami/hamid.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in told.items()))
        command = [str(self.programs / "hamid"), "--sim", str(self.state), "--kubelet-root", str(self.kubelet_root)]
        with (self.folder / "log").open("ab") as log:
            self.hamid = subprocess.Popen(command, stderr=log)
        self.ask("wait", str(devices))

    def kill(self) -> None:
        """Hamid is killed, unless it died already."""
        assert self.hamid is not None
        with contextlib.suppress(ProcessLookupError):
            self.hamid.send_signal(signal.SIGKILL)
        self.hamid.wait()

    def fault(self, rule: str) -> None:
        """From now on the driver misbehaves."""
        self.ctl("sim", "inject", "fault", rule, "--state", str(self.state))

    def states(self) -> dict[str, str]:
        """How sure the holder of each claim is, by pod or operator's name."""
        claims = json.loads(self.node("alloc", "list", "-o", "json"))["claims"]
        return {(each["pod"] or each)["name"]: each["standing"] for each in claims}

    def lose_ledger(self) -> None:
        """The ledger's files are deleted."""
        for path in self.root.glob("var/lib/hami/ledger.db*"):
            if path.suffix != ".made":
                path.unlink()

    def write(self, target: Path, name: str) -> None:
        """The ledger as SQL, and what this release says of it; nothing in it tells of this machine."""
        said = self.node("alloc", "list", "-o", "json")
        copies = [shutil.copy(path, self.folder) for path in self.root.glob("var/lib/hami/ledger.db*")]
        with contextlib.closing(sqlite3.connect(self.folder / "ledger.db")) as ledger:
            version = ledger.execute("PRAGMA user_version").fetchone()[0]
            rows = [*ledger.iterdump(), f"PRAGMA user_version = {version};"]
        for copy in copies:
            Path(copy).unlink(missing_ok=True)
        (target / f"{name}-v{version}.sql").write_text(self._neutral("\n".join(rows)) + "\n")
        (target / f"{name}-v{version}.json").write_text(self._neutral(said))

    def _neutral(self, text: str) -> str:
        """Without this machine's paths and boot; blobs become text."""
        text = re.sub(r"X'([0-9A-F]*)'", lambda found: _blob(bytes.fromhex(found[1]).decode()), text)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        for path in (self.root, self.state, self.kubelet_root, self.programs):
            text = text.replace(str(path), "/node" if path == self.state else "")
        return text.replace(boot, "BOOT-ID")

    def close(self) -> None:
        """Nothing is left."""
        if self.hamid is not None:
            self.kill()
        self.kubelet.terminate()
        self.kubelet.wait()
        self.ctl("sim", "down", "--state", str(self.state))


def _blob(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"CAST('{quoted}' AS BLOB)"


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def busy(node: Release, target: Path) -> None:
    """Claims of every kind, and two changes whose process died: one that makes a claim, one that ends another."""
    node.foreign_instance()
    node.node("mig", "apply", "--mem", "9000", "--count", "2", "-i", "0", "--name", "training", "--yes")
    node.node("mig", "apply", "--layout", "3=1g.6gb@0", "--yes")
    node.node("mig", "apply", "--mem", "5000", "-i", "3", "--name", "found.1", "--yes")
    node.start(24)
    node.pod("short", 4000)
    (gpu,) = [each for each in json.loads(node.node("gpu", "list", "-o", "json"))["gpus"] if each["index"] == 1]
    node.pod("adopter", 9900, {"use-gpuuuid": gpu["uuid"]})
    node.pod("pair", 4000, count=2)
    node.pod("shared", 3000, SHARE)
    node.pod("leaving", 19000)
    node.ask("finish", "short")
    until(lambda: "short" not in node.states() and set(node.states().values()) == {"confirmed", "operator"})
    node.kill()
    _end_open(node)
    node.write(target, "busy")


def _end_open(node: Release) -> None:
    """A claim ends on a GPU that hangs, kubelet confirms nothing of two pods, and hamid dies in an Allocate."""
    claims = json.loads(node.node("alloc", "list", "-o", "json"))["claims"]
    (leaving,) = [each for each in claims if each["pod"] and each["pod"]["name"] == "leaving"]
    node.start(24, reconcile_seconds=5)
    node.fault(f"{DESTROY}@{leaving['instances'][0]['gpuIndex']}=hang")
    node.ask("finish", "leaving")
    until(lambda: re.search("did not (come back|return)", (node.folder / "log").read_text()) is not None)
    node.pod("early", 4000)
    node.fault(f"{CREATE}=kill-after")
    node.pod("early-shared", 2000, SHARE)
    node.pod("unfinished", 4000, check=False)
    node.kill()
    assert {"provisional", "pending"} <= set(node.states().values()), "a reconciliation came between: run it again"


def operator(node: Release, target: Path) -> None:
    """A pod that is not known, and an operator's change that was killed before its claim held."""
    node.node("mig", "apply", "--mem", "4000", "--name", "first", "--yes")
    node.start(24, reconcile_seconds=5, pods_source="none", default_memory_mib=4000)
    node.pod("nameless", 4000)
    node.kill()
    node.fault(f"{CREATE}#2=kill-after")
    node.node("mig", "apply", "--mem", "9000", "--count", "2", "--name", "second", "--yes", check=False)
    node.write(target, "operator")


def doubtful(node: Release, target: Path) -> None:
    """A ledger that was lost: two pods are known again, and not every instance is explained."""
    node.node("mig", "apply", "--mem", "9000", "-i", "0", "--name", "forgotten", "--yes")
    node.start(24)
    node.pod("known", 4000)
    node.pod("known-share", 3000, SHARE)
    until(lambda: list(node.states().values()).count("confirmed") == 2)
    node.kill()
    node.lose_ledger()
    node.node("mig", "repair", "--yes", check=False)
    node.ctl("sim", "inject", "set", "lost", "1", "--gpu", "3", "--state", str(node.state))
    node.start(1)
    until(lambda: list(node.states().values()).count("confirmed") == 2)
    node.kill()
    node.write(target, "doubtful")


def main(programs: str, target: str) -> None:
    """Every ledger."""
    for make in (busy, operator, doubtful):
        with tempfile.TemporaryDirectory() as folder:
            node = Release(Path(programs), Path(folder))
            try:
                make(node, Path(target))
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    sys.stderr.write((Path(folder) / "log").read_text()[-3000:])
                raise
            finally:
                node.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
