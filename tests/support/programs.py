# SPDX-License-Identifier: Apache-2.0
"""Programs that a test talks to over pipes."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def piped(
    command: Sequence[str | Path], environment: Mapping[str, str], *, errors: bool = False
) -> subprocess.Popen[str]:
    """Start a program with text pipes for stdin and stdout, and with `errors` for stderr."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if errors else None,
        text=True,
    )
