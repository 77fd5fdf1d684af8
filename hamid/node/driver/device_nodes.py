# SPDX-License-Identifier: Apache-2.0
"""Device nodes: of instances /dev/nvidia-caps/nvidia-capN, and those of the GPU without which no container can use it.

The driver only names them in /proc; another program must create them. On a real node that is nvidia-modprobe where
there is one, else mknod. After a boot /dev/nvidia-uvm is missing until the first CUDA program has run on the host.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import threading

from msgspec import Struct

from hamid.core.claims.grant import DeviceNode
from hamid.node.paths import Paths

_CAPABILITIES = "/proc/driver/nvidia/capabilities"
CAPABILITIES = "/dev/nvidia-caps"
_MODPROBE_SECONDS = 20
# Majors by the names of /proc/devices: before release 555 the driver calls its own `nvidia-frontend`.
_OF_DRIVER = ("nvidia", "nvidia-frontend")
_OF_UVM = ("nvidia-uvm",)
_OF_CAPS = ("nvidia-caps",)
_ALL_MAY = 0o666
_COMMON = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")


class InstanceNodes(Struct, frozen=True):
    """The existing capability nodes of an instance, and messages about missing ones."""

    nodes: tuple[DeviceNode, ...]
    problem: str


def of_instance(paths: Paths, gpu_minor: int | None, gi_id: int, ci_id: int | None) -> InstanceNodes:
    """Create the missing nodes of an instance."""
    major = _major(paths, _OF_CAPS)
    nodes: list[DeviceNode] = []
    problem = ""
    for file in _files(gpu_minor, gi_id, ci_id):
        wanted = _read(paths, file)
        if wanted is None or major is None:
            problem = f"{paths.under(file) if wanted is None else paths.under('/proc/devices')} does not name one"
            break
        name = f"{CAPABILITIES}/nvidia-cap{wanted[0]}"
        problem = problem or _ensure(paths, file, name, os.makedev(major, wanted[0]), wanted[1])
        nodes += _present(paths, [name])
    message = f"device nodes below {paths.under(CAPABILITIES)} were not created: {problem}" if problem else ""
    return InstanceNodes(tuple(nodes), message)


def ensure(paths: Paths, gpu_minor: int | None, gi_id: int, ci_id: int | None) -> str:
    """As `of_instance`, for those who want to know only what could not be done."""
    return of_instance(paths, gpu_minor, gi_id, ci_id).problem


def ensure_gpu(paths: Paths, gpu_minor: int | None) -> str:
    """Create the missing nodes that CUDA needs for any GPU and for this one; existing nodes are not changed."""
    wanted = [
        ("/dev/nvidiactl", _OF_DRIVER, 255),
        ("/dev/nvidia-uvm", _OF_UVM, 0),
        ("/dev/nvidia-uvm-tools", _OF_UVM, 1),
    ]
    if gpu_minor is not None:
        wanted.append((f"/dev/nvidia{gpu_minor}", _OF_DRIVER, gpu_minor))
    for name, drivers, minor in wanted:
        problem = "" if _exists(paths.under(name)) else _make_common(paths, name, drivers, minor)
        if problem:
            return problem
    return ""


def _make_common(paths: Paths, name: str, drivers: tuple[str, ...], minor: int) -> str:
    path = paths.under(name)
    options = ("-u", "-c", "0") if drivers is _OF_UVM else ("-c", str(minor))
    if paths.root == "/" and _modprobe(*options) and _exists(path):
        return ""
    major = _major(paths, drivers)
    if major is None:
        return f"{path} is missing, and {paths.under('/proc/devices')} does not name {drivers[0]}"
    try:
        _make(path, _ALL_MAY, os.makedev(major, minor))
    except OSError as error:
        return f"{path} is missing: {error.strerror}"
    return ""


def _exists(path: str) -> bool:
    return os.path.lexists(path)


def of_gpu(paths: Paths, gpu_minor: int | None) -> tuple[DeviceNode, ...]:
    """The nodes that every container with a part of this GPU needs, those that the node has."""
    return _present(paths, [*_COMMON, *([] if gpu_minor is None else [f"/dev/nvidia{gpu_minor}"])])


def numbers(paths: Paths, gpu_minor: int | None, gi_id: int, ci_id: int | None) -> frozenset[int]:
    """The device numbers of an instance's capabilities; nothing where the driver does not name them."""
    found = [_read(paths, file) for file in _files(gpu_minor, gi_id, ci_id)]
    major = _major(paths, _OF_CAPS)
    return frozenset(os.makedev(major, each[0]) for each in found if each is not None and major is not None)


def _present(paths: Paths, names: list[str]) -> tuple[DeviceNode, ...]:
    # A missing path would prevent the container from starting.
    return tuple(
        DeviceNode(container_path=name, host_path=paths.under(name))
        for name in names
        if os.path.exists(paths.under(name))
    )


def _files(gpu_minor: int | None, gi_id: int, ci_id: int | None) -> list[str]:
    below = f"{_CAPABILITIES}/gpu{gpu_minor}/mig/gi{gi_id}"
    return [f"{below}/access", *([] if ci_id is None else [f"{below}/ci{ci_id}/access"])]


def _ensure(paths: Paths, file: str, name: str, device: int, mode: int) -> str:
    path = paths.under(name)
    if _is_there(path, device):
        return ""
    if paths.root == "/" and _modprobe("-f", file) and _is_there(path, device):
        return ""
    try:
        _make(path, mode, device)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def _read(paths: Paths, file: str) -> tuple[int, int] | None:
    """Minor number and mode of a capability, or None where the driver does not say."""
    try:
        with open(paths.under(file), encoding="ascii") as opened:
            pairs = dict(line.split(":", 1) for line in opened if ":" in line)
        return int(pairs["DeviceFileMinor"]), int(pairs["DeviceFileMode"]) & 0o777
    except (OSError, KeyError, ValueError):
        return None


def _major(paths: Paths, names: tuple[str, ...]) -> int | None:
    try:
        with open(paths.under("/proc/devices"), encoding="ascii") as opened:
            words = [line.split() for line in opened]
    except OSError:
        return None
    return next((int(number) for number, *rest in filter(None, words) if len(rest) == 1 and rest[0] in names), None)


def _is_there(path: str, device: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == device


def _modprobe(*options: str) -> bool:
    program = shutil.which("nvidia-modprobe", path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin")
    if program is None:
        return False
    try:
        return subprocess.run([program, *options], timeout=_MODPROBE_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _make(path: str, mode: int, device: int) -> None:
    folder, name = os.path.split(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Not `replace_file`: a device node has no content to write or flush; only its name must appear at once.
        # What stands there is no node of this device: a left-over of another boot.
        # GPUs' workers make the common ones at the same time.
        temporary = f"{name}.{os.getpid()}.{threading.get_ident()}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=descriptor)
        os.mknod(temporary, stat.S_IFCHR | mode, device, dir_fd=descriptor)
        os.chmod(temporary, mode, dir_fd=descriptor)  # the umask may have taken from it
        os.rename(temporary, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    finally:
        os.close(descriptor)
