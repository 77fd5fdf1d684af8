# SPDX-License-Identifier: Apache-2.0
"""The entry point `hamictl`: what ^C means before, between and after the commands' own code.

Little is imported before the handler stands: until then ^C would end in a traceback of imports.
"""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_INTERRUPTED = 130
_AGAIN_SECONDS = 0.001


def main() -> None:
    """Run the command line; ends the process with its exit code, 130 after ^C."""
    sys.unraisablehook = _repeat
    signal.signal(signal.SIGALRM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        from hamictl.app import app  # see above

        app(prog_name="hamictl")
    finally:
        # It is over; ^C must not turn what was done into a failure while the interpreter ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def write_from_handler(text: str) -> None:
    """Write to stderr from a signal handler: sys.stderr raises RuntimeError if the signal interrupted its own write."""
    # There may be no stderr (AttributeError), or no reader of it (OSError).
    with contextlib.suppress(OSError, AttributeError):
        os.write(sys.stderr.fileno(), text.encode())


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    write_from_handler("\n")
    # Not KeyboardInterrupt, which typer would make an exit code of 1.
    raise SystemExit(_INTERRUPTED)


def _repeat(lost: "sys.UnraisableHookArgs") -> None:
    # Python drops what is raised in a weakref's callback or a finalizer. A ^C that is lost there is repeated by an
    # alarm, again and again until it arrives. KeyboardInterrupt is the second ^C of a change (hamictl.progress).
    error = lost.exc_value
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == _INTERRUPTED):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)
