# SPDX-License-Identifier: Apache-2.0
"""Controls the simulated driver through its exported functions, never through its state file.

Everything that a test or `hamictl sim` does to a simulated node goes through the same lock and the same
change of state as NVML's own calls, so that no client ever sees half of it.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from typing import Final

from hamid.core.errors import UsageError
from hamid.node.paths import native_file

ABI_VERSION: Final = 1
STATE_VARIABLE: Final = "HAMI_SIM_STATE"
NODE_VARIABLE: Final = "HAMI_SIM_NODE"
MESSAGE_BYTES: Final = 4096

SUCCESS: Final = 0
NOT_FOUND: Final = 6


@dataclass(frozen=True)
class BoardInfo:
    """A product that a simulated node can have; the name is empty where NVIDIA's is not known."""

    key: str
    name: str


@dataclass(frozen=True)
class SimulatedProcess:
    """A live process that the node counts on a GPU or MIG device."""

    pid: int
    gpu_index: int
    target: str
    memory_mib: int
    holder: bool
    name: str


@dataclass(frozen=True)
class Usage:
    """What a live process uses of a GPU or MIG device; the time is what its CUDA kernels took of it."""

    pid: int
    gpu_index: int
    target: str
    memory_bytes: int
    busy_ns: int
    launches: int


@cache
def library() -> ctypes.CDLL:
    """The simulated libnvidia-ml, loaded once; a wheel built for another version is refused."""
    path = native_file("simulator/libnvidia-ml.so.1")
    loaded = ctypes.CDLL(path)
    if loaded.hami_sim_version() != ABI_VERSION:
        raise UsageError(f"'{path}' belongs to another version of hami-node", hint="reinstall the package")
    return loaded


def preload() -> None:
    """Make this process's NVML clients use the simulated library: their own load finds it by its soname."""
    ctypes.CDLL(native_file("simulator/libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)


def is_simulated() -> bool:
    """Whether the libnvidia-ml.so.1 that is loaded in this process is the simulated one; nothing is loaded."""
    try:
        loaded = ctypes.CDLL("libnvidia-ml.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    return hasattr(loaded, "hami_sim_version")


def holder_program() -> str:
    """Path of the program that occupies a GPU or MIG device: `hami-sim-holder STATE UUID MEMORY_MIB [NAME]`."""
    return native_file("simulator/hami-sim-holder")


def _check(code: int, message: ctypes.Array[ctypes.c_char], hint: str) -> None:
    if code != SUCCESS:
        text = message.value.decode(errors="replace") or f"the simulated driver answered code {code}"
        raise UsageError(text, hint=hint)


def _buffer() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(MESSAGE_BYTES)


def _path(state: str | os.PathLike[str] | None) -> bytes | None:
    return None if state is None else os.fsencode(state)


def check_spec(spec: str) -> None:
    """Raise UsageError unless the text describes a node, such as `2xA100-SXM4-40GB,1xA30`."""
    message = _buffer()
    code = library().hami_sim_spec_check(spec.encode(), message, ctypes.c_size_t(MESSAGE_BYTES))
    _check(code, message, "list the boards with: hamictl sim boards")


def create(state: str | os.PathLike[str], spec: str) -> None:
    """Make the state file of a node, whole or not at all; a file that exists is never overwritten."""
    message = _buffer()
    code = library().hami_sim_create(_path(state), spec.encode(), message, ctypes.c_size_t(MESSAGE_BYTES))
    _check(code, message, "remove a node with: hamictl sim down")


def check_state(state: str | os.PathLike[str]) -> None:
    """Raise UsageError unless the file is the state of a node that this version can work with."""
    message = _buffer()
    code = library().hami_sim_check(_path(state), message, ctypes.c_size_t(MESSAGE_BYTES))
    _check(code, message, "create a node with: hamictl sim up --state FILE --node SPEC")


def _lines(function: str, *arguments: object) -> list[list[str]]:
    """The tab-separated lines that a function writes; it is asked again until they fit."""
    call = getattr(library(), function)
    size = MESSAGE_BYTES
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = call(*arguments, buffer, ctypes.c_size_t(size))
        if needed < 0:
            raise UsageError(f"the simulated driver answered code {-needed}", hint="hamictl sim status")
        if needed <= size:
            return [line.split("\t") for line in buffer.value.decode(errors="replace").splitlines()]
        size = needed


def boards() -> list[BoardInfo]:
    """Every product that a simulated node can have."""
    return [BoardInfo(key=key, name=name) for key, name in _lines("hami_sim_boards")]


def add_process(
    uuid: str,
    pid: int,
    memory_mib: int,
    *,
    name: str | None = None,
    state: str | os.PathLike[str] | None = None,
) -> None:
    """Count a live process on a GPU or MIG device until it ends; without a state, on the node that NVML has open."""
    message = _buffer()
    code = library().hami_sim_process_add(
        _path(state),
        uuid.encode(),
        ctypes.c_uint(pid),
        ctypes.c_ulonglong(memory_mib),
        None if name is None else name.encode(),
        message,
        ctypes.c_size_t(MESSAGE_BYTES),
    )
    _check(code, message, "see what the node has with: hamictl sim status")


def remove_process(pid: int, *, state: str | os.PathLike[str] | None = None) -> bool:
    """Take a process off the node; False if it was on none of its GPUs."""
    message = _buffer()
    code = library().hami_sim_process_remove(_path(state), ctypes.c_uint(pid), message, ctypes.c_size_t(MESSAGE_BYTES))
    if code != NOT_FOUND:
        _check(code, message, "see what the node has with: hamictl sim status")
    return bool(code == SUCCESS)


def processes(state: str | os.PathLike[str] | None = None) -> list[SimulatedProcess]:
    """The live processes on the node's GPUs; a holder is one that `sim process start` put there."""
    rows = _lines("hami_sim_process_list", _path(state))
    return [
        SimulatedProcess(int(pid), int(index), uuid, int(memory_mib), holder == "1", name)
        for pid, index, uuid, memory_mib, holder, name in rows
    ]


def usage(state: str | os.PathLike[str] | None = None) -> list[Usage]:
    """What the live processes use of the node's GPUs, to the byte."""
    rows = _lines("hami_sim_usage", _path(state))
    return [
        Usage(int(pid), int(index), uuid, int(memory), int(busy), int(launches))
        for pid, index, uuid, memory, busy, launches in rows
    ]


def _act(function: str, state: str | os.PathLike[str] | None, *arguments: object) -> None:
    """One control function that changes a node and explains its refusal."""
    message = _buffer()
    code = getattr(library(), function)(_path(state), *arguments, message, ctypes.c_size_t(MESSAGE_BYTES))
    _check(code, message, "see the knobs and faults in docs/simulator.md")


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def set_knob(
    knob: str,
    value: str,
    *,
    uuid: str | None = None,
    state: str | os.PathLike[str] | None = None,
) -> None:
    """Change how a node (without a UUID) or one of its GPUs behaves; control/control.h lists the knobs."""
    _act("hami_sim_set", state, _text(uuid), knob.encode(), value.encode())


def set_root(root: str | os.PathLike[str], *, state: str | os.PathLike[str] | None = None) -> None:
    """Let the kernel's MIG files below this directory follow the node's instances."""
    set_knob("root", os.fsdecode(root), state=state)


def add_fault(rule: str, *, state: str | os.PathLike[str] | None = None) -> None:
    """Make every process meet a fault: `FUNCTION[@GPU][#FIRST[+TIMES]]=latency:MS|hang|error:CODE|kill|kill-after`."""
    _act("hami_sim_fault_add", state, rule.encode())


def clear_faults(*, state: str | os.PathLike[str] | None = None) -> None:
    """End every fault that was added; those of HAMI_SIM_FAULTS belong to their process."""
    _act("hami_sim_faults_clear", state)


def post_xid(uuid: str, xid: int, *, state: str | os.PathLike[str] | None = None) -> None:
    """Report an Xid of a GPU or MIG device to all clients that wait for events."""
    _act("hami_sim_xid", state, uuid.encode(), ctypes.c_ulonglong(xid))


def post_ecc(
    uuid: str,
    count: int = 1,
    *,
    uncorrected: bool = False,
    state: str | os.PathLike[str] | None = None,
) -> None:
    """Count ECC errors on a GPU and post the event."""
    _act("hami_sim_ecc", state, uuid.encode(), ctypes.c_int(uncorrected), ctypes.c_ulonglong(count))


def reset_gpu(uuid: str | None = None, *, state: str | os.PathLike[str] | None = None) -> None:
    """Reset one idle GPU or all: destroy instances, apply a pending MIG mode, bring back a lost GPU."""
    _act("hami_sim_gpu_reset", state, _text(uuid))


def reboot(*, state: str | os.PathLike[str] | None = None) -> None:
    """Reboot the node: end processes and destroy instances. Only Ampere GPUs keep their MIG mode."""
    _act("hami_sim_reboot", state)
