# SPDX-License-Identifier: Apache-2.0
"""The entry point `hamictl`, and its handling of ^C outside the commands' own code.

The handler is installed before most imports: without it, ^C during an import would print a traceback.
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
        # The command is finished: ^C while the interpreter exits must not turn success into failure.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Not KeyboardInterrupt, which typer would make an exit code of 1.
    sys.stderr.write("\n")
    raise SystemExit(_INTERRUPTED)


def _repeat(lost: "sys.UnraisableHookArgs") -> None:
    # Python drops exceptions raised in a weakref callback or a finalizer; deliver such a ^C again.
    if isinstance(lost.exc_value, SystemExit) and lost.exc_value.code == _INTERRUPTED:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)
