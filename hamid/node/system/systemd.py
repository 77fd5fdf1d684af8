# SPDX-License-Identifier: Apache-2.0
"""What a service tells systemd: that it is ready, how it is, that it still lives. sd_notify(3) is the source.

Without a manager (no NOTIFY_SOCKET) everything here does nothing, so that hamid runs the same in a shell.
"""

import array
import os
import select
import socket
import time
from collections.abc import MutableMapping
from typing import Final

# A manager that does not read for so long is in worse trouble than we; what we do goes on.
_SEND_SECONDS: Final = 1.0
_USEC: Final = 1_000_000
_MS: Final = 1_000


class Notifier:
    """Talks to the manager at `address`: a path, or with a leading `@` a name in the abstract space of sockets.

    Nothing here raises for a manager that is gone or deaf; `problem` says what is wrong then.
    """

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        self.problem = ""
        self.watchdog_seconds = watchdog_seconds
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._status = ""
        if address and not address.startswith(("/", "@")):
            self.problem = f"NOTIFY_SOCKET is '{address}', neither a path nor an abstract name"
            self._address = ""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> "Notifier":
        """From what the manager put into our environment, which is taken out so that no child answers for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        watched = usec.isascii() and usec.isdigit() and int(usec) > 0 and pid in {"", str(os.getpid())}
        return cls(address, int(usec) / _USEC if watched else None)

    @property
    def active(self) -> bool:
        """True when there is a manager to talk to."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """We serve, first or again after a reload."""
        self._status = status
        self._send("READY=1", _line(status))

    def status(self, text: str) -> None:
        """How we are, in one line; sent only when it is another than before."""
        if text != self._status and self._send(_line(text), seconds=0.0):
            self._status = text

    def reloading(self) -> None:
        """We read our configuration anew; READY follows."""
        # The manager tells by this time whether its request or an earlier one is answered.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """We are about to end."""
        self._send("STOPPING=1", _line(status))

    def extend(self, seconds: float) -> None:
        """The start, reload or stop that is under way may take so much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * _USEC)}")

    def alive(self) -> None:
        """The watchdog's sign of life."""
        self._send("WATCHDOG=1", seconds=0.0)

    def barrier(self, seconds: float) -> bool:
        """True once the manager has read all that was sent before; it must know us until then."""
        if not self.active:
            return True
        reader, writer = os.pipe()
        try:
            sent = self._send("BARRIER=1", descriptor=writer)
        finally:
            os.close(writer)
        try:
            poll = select.poll()
            poll.register(reader, 0)
            return sent and bool(poll.poll(int(seconds * _MS)))
        finally:
            os.close(reader)

    def close(self) -> None:
        """No more messages."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._address = None, ""

    def _send(self, *lines: str, descriptor: int | None = None, seconds: float = _SEND_SECONDS) -> bool:
        if not self.active:
            return False
        message = "\n".join(lines).encode()
        extra = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # What is said again soon waits for nobody: the event loop would wait with it.
            self._socket.settimeout(seconds)
            self._socket.sendmsg([message], extra, 0, self._address)
        except OSError as error:
            self.problem = f"the service manager cannot be told: {error}"
            return False
        self.problem = ""
        return True


def _line(status: str) -> str:
    return "STATUS=" + " ".join(status.split())
