# SPDX-License-Identifier: Apache-2.0
"""hammer.py LIBRARY STATE KILLS WORKERS SEED: processes that work on a simulated node of 8 A100 and are killed.

A worker is killed once it has made so many calls more, a number drawn from the seed; where in the library that meets
it is left to the machine. After every kill this process calls the library itself, and the next victim must have gone
on: a wedged lock or a half change shows at once. It uses ctypes alone, so that a fork is cheap.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import signal
import sys
import time

library = ctypes.CDLL(sys.argv[1])
state, kills, workers, seed = sys.argv[2], *map(int, sys.argv[3:6])
# How many calls the worker at each place has made, in memory that all of them share; the last place is the killer's.
calls = (ctypes.c_ulong * (workers + 1)).from_buffer(mmap.mmap(-1, (workers + 1) * ctypes.sizeof(ctypes.c_ulong)))
here = [workers]
GPUS = 8
MOST_CALLS = 40
POLL_SECONDS = 0.0002
PROFILES = (19, 14, 9, 15, 20)
COMPUTE = {19: 0, 14: 1, 9: 2, 15: 0, 20: 0}
EXPECTED = {0, 19, 23, 2}  # success, in use, insufficient resources, a handle that another one destroyed


def give_up(reason):
    """End with a report."""
    os.write(2, f"{reason}\n".encode())
    os._exit(3)


def check(code, what):
    """Count a call; end with a report on an answer that no client may get."""
    calls[here[0]] += 1
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


def work(place, number):
    """The life of a worker: cycles on random GPUs, with a new session now and then."""
    here[0] = place
    pick = random.Random(number)
    while True:
        device = gpu(pick.randrange(GPUS))
        for _ in range(20):
            cycle(device, pick)
        if pick.random() < 0.2:
            library.nvmlShutdown()
            if library.nvmlInit_v2() != 0:
                os._exit(3)


def start(place, number):
    """Fork a worker."""
    child = os.fork()
    if child == 0:
        work(place, number)
    return child


def wait_for_calls(place, count):
    """Wait until the worker has made so many calls more."""
    wanted = calls[place] + count
    while calls[place] < wanted:
        time.sleep(POLL_SECONDS)


def main():
    """Keep the workers busy, kill one at a time, and report."""
    os.environ["HAMI_SIM_STATE"] = state
    if library.nvmlInit_v2() != 0:
        return 3
    for index in range(GPUS):
        check(library.nvmlDeviceSetMigMode(gpu(index), 1, ctypes.byref(ctypes.c_uint())), "mode")
    pick = random.Random(seed)
    children = [start(place, seed * 100_000 + place) for place in range(workers)]
    for killed in range(kills):
        victim = pick.randrange(workers)
        wait_for_calls(victim, 1 + pick.randrange(MOST_CALLS))
        os.kill(children[victim], signal.SIGKILL)
        status = os.waitpid(children[victim], 0)[1]
        if not os.WIFSIGNALED(status):
            give_up(f"a worker gave up: {status}")
        sweep(gpu(pick.randrange(GPUS)), pick)
        children[victim] = start(victim, seed * 100_000 + workers + killed)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
