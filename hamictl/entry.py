# SPDX-License-Identifier: Apache-2.0
"""The entry point `hamictl`: what ^C means before, between and after the commands' own code.

Little is imported before the handler stands: until then ^C would end in a traceback of imports.
"""

import signal
import sys
from types import FrameType
from typing import NoReturn

_INTERRUPTED = 130
_AGAIN_SECONDS = 0.001


def main() -> None:
    """Run the command line; ends the process with its exit code, 130 after ^C."""
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGALRM, _end)
    sys.unraisablehook = _repeat
    try:
        from hamictl.app import app  # see above

        app(prog_name="hamictl")
    finally:
        # It is over; ^C must not turn what was done into a failure while the interpreter ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Not KeyboardInterrupt, which typer would make an exit code of 1.
    sys.stderr.write("\n")
    raise SystemExit(_INTERRUPTED)


def _repeat(lost: "sys.UnraisableHookArgs") -> None:
    # Python drops what is raised in a weakref's callback or a finalizer: a ^C that came there comes again.
    if isinstance(lost.exc_value, SystemExit) and lost.exc_value.code == _INTERRUPTED:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)
