# SPDX-License-Identifier: Apache-2.0
"""One writer of the ledger at a time: flock on a file beside it that names its holder."""

import fcntl
import os
import time

from hamid.core.errors import LedgerBusy
from hamid.node.system.processes import home_of

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_POLL_SECONDS = 0.02
_MOST_BYTES = 300


def take(path: str, wait_seconds: float) -> int:
    """A descriptor that holds the lock until it is closed; raises LedgerBusy, which names the holder, or OSError."""
    descriptor = os.open(path, _OPEN, 0o640)
    deadline = time.monotonic() + wait_seconds
    try:
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                raise LedgerBusy(  # noqa: TRY301  # the descriptor is closed below
                    f"the ledger is held by {_holder(descriptor)}", "try again when it has ended"
                )
            time.sleep(_POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {own_command()}".encode()[:_MOST_BYTES], 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def own_command() -> str:
    """The command line of this process."""
    try:
        with open("/proc/self/cmdline", "rb") as file:  # pathlib costs start-up
            words = file.read().split(b"\0")
    except OSError:
        return "unknown"
    return b" ".join(words).decode(errors="replace").strip()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    pid, _, command = os.pread(descriptor, _MOST_BYTES, 0).decode(errors="replace").partition(" ")
    if not pid.isdigit():
        return "an unknown process that is starting"
    home = home_of(int(pid))
    return f"process {pid} ({command})" + (f" of {home}" if home else "")
