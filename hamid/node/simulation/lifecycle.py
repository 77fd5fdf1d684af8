# SPDX-License-Identifier: Apache-2.0
"""Start, reboot and end a simulated node on disk: STATE (the simulated driver's state) and STATE.d (the node's root).

Holders are background processes that use GPU memory on the node; they end by themselves once STATE is gone.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

from hamid.core.errors import NodeError, UsageError
from hamid.node.paths import native_file
from hamid.node.simulation import control

_MARKER = ".hami-sim"
_BOOT_ID = "proc/sys/kernel/random/boot_id"
_HOLDERS_END_SECONDS = 5.0


def root_of(state: Path) -> Path:
    """The root directory that belongs to a state file."""
    return state.with_name(state.name + ".d")


def up(state: Path, spec: str) -> None:
    """Make the node; raises UsageError for a bad spec or when either path exists."""
    root = root_of(state)
    if state.exists() or root.exists():
        raise UsageError(f"'{state if state.exists() else root}' exists", "remove that node first: hamictl sim down")
    control.check_spec(spec)
    try:
        root.mkdir(mode=0o755)
    except OSError as error:
        raise UsageError(
            f"cannot create '{root}': {error.strerror}", "name a state file in a writable directory"
        ) from error
    (root / _MARKER).touch()
    try:
        control.create(str(state), spec)
        control.set_root(root.resolve(), state=str(state))
    except BaseException:
        shutil.rmtree(root)
        raise


def down(state: Path) -> list[int]:
    """End the node: the pids of the holders that ended with it. The root goes only if `up` made it."""
    control.check_state(str(state))
    pids = [process.pid for process in control.processes(str(state)) if process.holder]
    state.unlink()
    root = root_of(state)
    if (root / _MARKER).is_file():
        shutil.rmtree(root)
    _await_end(pids)
    return pids


def reboot(state: Path) -> None:
    """Reboot the node: processes, instances and volatile files of its root are gone, and it has a new boot id."""
    control.reboot(state=str(state))
    root = root_of(state)
    if not (root / _MARKER).is_file():
        return
    for volatile in ("dev", "run", "tmp"):
        shutil.rmtree(root / volatile, ignore_errors=True)
    boot_id = root / _BOOT_ID
    boot_id.parent.mkdir(parents=True, exist_ok=True)
    boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")


def exports(state: Path) -> dict[str, str]:
    """The variables that point any NVML client, and hamictl, at the node."""
    control.check_state(str(state))
    library = str(Path(native_file("simulator/libnvidia-ml.so.1")).parent)
    inherited = os.environ.get("LD_LIBRARY_PATH", "")
    others = [part for part in inherited.split(":") if part and part != library]
    return {
        control.STATE_VARIABLE: str(state.resolve()),
        "HAMI_ROOT": str(root_of(state.resolve())),
        "LD_LIBRARY_PATH": ":".join([library, *others]),
    }


def start_holder(state: Path, target_uuid: str, memory_mib: int) -> int:
    """Put a process in the background that holds `memory_mib` on a GPU or instance; its pid once it does."""
    control.check_state(str(state))
    command = [control.holder_program(), str(state.resolve()), target_uuid, str(memory_mib)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
        text=True,
    ) as process:
        if process.stdout is None or process.stderr is None:
            raise AssertionError("both were asked for")
        ready = process.stdout.readline().strip()
        if ready == "ready":
            # The holder lives on; leaving the block must not wait for it.
            process.returncode = 0
            return process.pid
        problem = process.stderr.read().strip() or "it ended without a message"
    raise UsageError(f"the process did not start: {problem}")


def stop_holder(state: Path, pid: int) -> None:
    """End a holder of this node by pid; raises UsageError for a pid that is none."""
    control.check_state(str(state))
    holders = [process.pid for process in control.processes(str(state)) if process.holder]
    if pid not in holders:
        known = ", ".join(str(each) for each in holders) or "none"
        raise UsageError(
            f"process {pid} was not started by 'sim process start' on this node", f"its processes: {known}"
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    _await_end([pid])


def _await_end(pids: list[int]) -> None:
    deadline = time.monotonic() + _HOLDERS_END_SECONDS
    while alive := [pid for pid in pids if _alive(pid)]:
        if time.monotonic() > deadline:
            raise NodeError(f"processes did not end: {alive}", "end them with kill")
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    """True unless the process is gone or waits, dead, for its parent."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}
