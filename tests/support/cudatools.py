# SPDX-License-Identifier: Apache-2.0
"""Starts CUDA clients on a simulated node and talks with them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from hamid.node.paths import native_file
from support.narrow import present

PROGRAM = Path(__file__).with_name("cuda_client.py")
LIBRARIES = str(Path(native_file("simulator/libcuda.so.1")).parent)
MIB = 1 << 20


def environment(state, **more):
    """The variables of a client of that node."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "HAMI_SIM_STATE": str(state), "LD_LIBRARY_PATH": LIBRARIES, **more}


class Client:
    """A client process; calling it with an expression gives the value. A refusal is the pair (function, code)."""

    def __init__(self, state, **more):
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env=environment(state, **more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def ask(self, expression):
        """Send an expression without waiting for its value."""
        present(self.process.stdin).write(expression + "\n")
        present(self.process.stdin).flush()

    def answer(self):
        line = present(self.process.stdout).readline()
        if not line:
            raise EOFError(f"the client ended with {self.process.wait()}")
        return ast.literal_eval(line)

    def __call__(self, expression):
        self.ask(expression)
        return self.answer()

    def kill(self):
        """SIGKILL; it is gone and reaped when this returns."""
        self.process.kill()
        self.process.wait()
        present(self.process.stdin).close()
        present(self.process.stdout).close()
