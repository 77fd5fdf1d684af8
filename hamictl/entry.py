# SPDX-License-Identifier: Apache-2.0
"""The entry point `hamictl`: what ^C means before, between and after the commands' own code.

Little is imported before the handler stands: until then ^C would end in a traceback of imports.
"""

import signal
import sys
from types import FrameType
from typing import NoReturn

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; ends the process with its exit code, 130 after ^C."""
    signal.signal(signal.SIGINT, _end)
    try:
        from hamictl.app import app  # see above

        app(prog_name="hamictl")
    finally:
        # It is over; ^C must not turn what was done into a failure while the interpreter ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Not KeyboardInterrupt, which typer would make an exit code of 1.
    sys.stderr.write("\n")
    raise SystemExit(_INTERRUPTED)
