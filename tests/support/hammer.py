# SPDX-License-Identifier: Apache-2.0
"""hammer.py LIBRARY STATE SECONDS KILLS WORKERS SEED: processes that work on a simulated node of 8 A100 and are killed.

With SECONDS 0 it ends after KILLS kills. It uses ctypes alone, so that a fork is cheap, and after every kill it
calls the library itself: a wedged lock or a half change shows at once.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time

library = ctypes.CDLL(sys.argv[1])
state, seconds, kills, workers, seed = sys.argv[2], float(sys.argv[3]), *map(int, sys.argv[4:7])
GPUS = 8
PROFILES = (19, 14, 9, 15, 20)
COMPUTE = {19: 0, 14: 1, 9: 2, 15: 0, 20: 0}
EXPECTED = {0, 19, 23, 2}  # success, in use, insufficient resources, a handle that another one destroyed


def give_up(reason):
    """End with a report."""
    os.write(2, f"{reason}\n".encode())
    os._exit(3)


def check(code, what):
    """End with a report on an answer that no client may get."""
    if code not in EXPECTED:
        give_up(f"{what} answered {code}")
    return code


def gpu(index):
    """The handle of a GPU."""
    device = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != 0:
        give_up("no handle")
    return device


def cycle(device, pick):
    """Create an instance with its compute instance, look at it, and destroy both most of the time."""
    profile = pick.choice(PROFILES)
    instance, compute, info = ctypes.c_void_p(), ctypes.c_void_p(), (ctypes.c_ulonglong * 8)()
    if check(library.nvmlDeviceCreateGpuInstance(device, profile, ctypes.byref(instance)), "create") != 0:
        return sweep(device, pick)
    check(library.nvmlGpuInstanceGetInfo(instance, info), "info")
    made = library.nvmlGpuInstanceCreateComputeInstance(instance, COMPUTE[profile], ctypes.byref(compute))
    if check(made, "compute") == 0 and pick.random() < 0.8:
        check(library.nvmlComputeInstanceDestroy(compute), "compute destroy")
        check(library.nvmlGpuInstanceDestroy(instance), "destroy")
    return None


def sweep(device, pick):
    """Destroy what others left, some of it."""
    count, rows = ctypes.c_uint(), (ctypes.c_void_p * 16)()
    children, below = (ctypes.c_void_p * 16)(), ctypes.c_uint()
    for profile in PROFILES:
        check(library.nvmlDeviceGetGpuInstances(device, profile, rows, ctypes.byref(count)), "list")
        for index in range(count.value):
            instance = ctypes.c_void_p(rows[index])
            listed = library.nvmlGpuInstanceGetComputeInstances(
                instance, COMPUTE[profile], children, ctypes.byref(below)
            )
            if check(listed, "children") == 0:
                for child in range(below.value):
                    check(library.nvmlComputeInstanceDestroy(ctypes.c_void_p(children[child])), "compute destroy")
            if pick.random() < 0.7:
                check(library.nvmlGpuInstanceDestroy(instance), "destroy")


def work(number):
    """The life of a worker: cycles on random GPUs, with a new session now and then."""
    pick = random.Random(number)
    while True:
        device = gpu(pick.randrange(GPUS))
        for _ in range(20):
            cycle(device, pick)
        if pick.random() < 0.2:
            library.nvmlShutdown()
            if library.nvmlInit_v2() != 0:
                os._exit(3)


def start(number):
    """Fork a worker."""
    child = os.fork()
    if child == 0:
        work(number)
    return child


def main():
    """Keep the workers busy, kill one at a time, and report."""
    os.environ["HAMI_SIM_STATE"] = state
    if library.nvmlInit_v2() != 0:
        return 3
    for index in range(GPUS):
        check(library.nvmlDeviceSetMigMode(gpu(index), 1, ctypes.byref(ctypes.c_uint())), "mode")
    pick = random.Random(seed)
    children = [start(seed * 100_000 + number) for number in range(workers)]
    killed, deadline = 0, time.monotonic() + (seconds or 1e9)
    while time.monotonic() < deadline and (seconds or killed < kills):
        time.sleep(pick.random() * 0.004)
        victim = pick.randrange(workers)
        os.kill(children[victim], signal.SIGKILL)
        status = os.waitpid(children[victim], 0)[1]
        if not os.WIFSIGNALED(status):
            give_up(f"a worker gave up: {status}")
        killed += 1
        sweep(gpu(pick.randrange(GPUS)), pick)
        children[victim] = start(seed * 100_000 + workers + killed)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.write(1, f"killed {killed}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
