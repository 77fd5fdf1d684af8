# SPDX-License-Identifier: Apache-2.0
"""Notifications to systemd: ready, status, watchdog (sd_notify(3)).

Without a manager (no NOTIFY_SOCKET) every call does nothing, so that hamid runs the same in a shell.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

# A manager that does not read for this long is stuck; hamid goes on without it.
_SEND_SECONDS: Final = 1.0
_USEC: Final = 1_000_000


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
            self.problem = f"NOTIFY_SOCKET is '{address}', which is neither a path nor an abstract name"
            self._address = ""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> "Notifier":
        """From the manager's environment variables, which are removed so that no child process sends notifications."""
        address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        watched = usec.isascii() and usec.isdigit() and int(usec) > 0 and pid in {"", str(os.getpid())}
        return cls(address, int(usec) / _USEC if watched else None)

    @property
    def active(self) -> bool:
        """True if there is a manager to notify."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Report that hamid serves, after its start or a reload."""
        self._status = status
        self._send("READY=1", _line(status))

    def status(self, text: str) -> None:
        """The state of hamid in one line; sent only when it changed."""
        if text != self._status and self._send(_line(text), seconds=0.0):
            self._status = text

    def reloading(self) -> None:
        """Report that the configuration is being read again; READY follows."""
        # By this time the manager knows which of its requests is answered.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Report that hamid is stopping."""
        self._send("STOPPING=1", _line(status))

    def extend(self, seconds: float) -> None:
        """Extend the timeout of the start, reload or stop in progress by this time from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * _USEC)}")

    def alive(self) -> None:
        """Send the watchdog's keep-alive."""
        self._send("WATCHDOG=1", seconds=0.0)

    def close(self) -> None:
        """Close the socket; send no more messages."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._address = None, ""

    def _send(self, *lines: str, seconds: float = _SEND_SECONDS) -> bool:
        if not self.active:
            return False
        message = "\n".join(lines).encode()
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A message that is soon sent again never waits: the event loop would wait with it.
            self._socket.settimeout(seconds)
            self._socket.sendto(message, self._address)
        except OSError as error:
            self.problem = f"the service manager cannot be notified: {error}"
            return False
        self.problem = ""
        return True


def _line(status: str) -> str:
    return "STATUS=" + " ".join(status.split())
