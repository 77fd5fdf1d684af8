# SPDX-License-Identifier: Apache-2.0
"""How long calls of the simulated driver take on a file state of eight GPUs. The aim: create plus destroy in 50 us."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hamid.node.paths import native_file
from hamid.node.simulation import control

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 20_000
AIM_US = 50


def microseconds(action: Callable[[], None], rounds: int = ROUNDS) -> float:
    """The best of five averages, Python's own share of a ctypes call included."""
    averages = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(rounds // 5):
            action()
        averages.append((time.perf_counter() - started) / (rounds // 5) * 1e6)
    return min(averages)


def main() -> None:
    """Print one line a call."""
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory) / "node"
        control.create(state, "8xA100-SXM4-40GB")
        os.environ["HAMI_SIM_STATE"] = str(state)
        library = ctypes.CDLL(native_file("simulator/libnvidia-ml.so.1"))
        device, instance, number = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint()
        library.nvmlInit_v2()
        library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        library.nvmlDeviceSetMigMode(device, 1, ctypes.byref(number))

        def create_and_destroy() -> None:
            library.nvmlDeviceCreateGpuInstance(device, 19, ctypes.byref(instance))
            library.nvmlGpuInstanceDestroy(instance)

        def ask() -> None:
            library.nvmlDeviceGetMigMode(device, ctypes.byref(number), ctypes.byref(number))

        def visit() -> None:
            library.nvmlShutdown()
            library.nvmlInit_v2()

        print(f"create + destroy   {microseconds(create_and_destroy):8.1f} us   (aim {AIM_US})")
        print(f"get MIG mode       {microseconds(ask):8.1f} us")
        print(f"shutdown + init    {microseconds(visit, ROUNDS // 10):8.1f} us")
        library.nvmlShutdown()


if __name__ == "__main__":
    main()
