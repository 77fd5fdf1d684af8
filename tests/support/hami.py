# SPDX-License-Identifier: Apache-2.0
"""What HAMi-core 1.x does to the region that processes share, done by hand: a peer that has a slot there and lives."""

import struct
import subprocess
import sys

from hamid.core.library.region import MAGIC, V1_SIZE
from support.narrow import present

LIMIT, PROCESSES, COUNT = 1600, 1856, 2_008_896
SLOT_SIZE, TOTAL, STATUS, SEQUENCE = 1960, 8 + 32, 1928, 1936

MAPS = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
sys.stdin.read()
"""


def region(*, pids=(), total=0, limit=0):
    """A file as HAMi-core leaves it: one byte more than its structure."""
    data = bytearray(V1_SIZE + 1)
    struct.pack_into("<iII", data, 0, MAGIC, 1, 2)
    data[64:68] = b"GPU-"
    struct.pack_into("<Q", data, LIMIT, limit)
    struct.pack_into("<Q", data, 1728, 30)
    for slot, pid in enumerate(pids):
        base = PROCESSES + SLOT_SIZE * slot
        data[base : base + SLOT_SIZE] = slot_of(pid, total)
    struct.pack_into("<i", data, COUNT, len(pids))
    return data


def slot_of(pid, total, *, host_pid=0):
    """A slot's bytes."""
    data = bytearray(SLOT_SIZE)
    struct.pack_into("<ii", data, 0, pid, host_pid)
    struct.pack_into("<Q", data, TOTAL, total)
    struct.pack_into("<i", data, STATUS, 1)
    return bytes(data)


class Peer:
    """A process that maps the region, as HAMi-core's do until their end."""

    def __init__(self, path):
        command = [sys.executable, "-c", MAPS, path]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert present(self.process.stdout).readline() == "mapped\n"
        self.pid = self.process.pid

    def kill(self):
        self.process.kill()
        self.process.communicate()


class Writer:
    """Reads and writes a region's header and slots."""

    def __init__(self, path):
        self.path = path

    def read(self, offset, size):
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def write(self, offset, data):
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def limit(self):
        """Of the first device, as HAMi's monitor reads it."""
        return struct.unpack("<Q", self.read(LIMIT, 8))[0]

    def count(self):
        return struct.unpack("<i", self.read(COUNT, 4))[0]

    def slot(self, number):
        return self.read(PROCESSES + SLOT_SIZE * number, SLOT_SIZE)

    def put(self, number, data):
        """Another content; the count takes it in."""
        self.write(PROCESSES + SLOT_SIZE * number, data)
        if self.count() <= number:
            self.write(COUNT, struct.pack("<i", number + 1))

    def close_gap(self, number):
        """As HAMi-core does: the last slot moves to where a process ended."""
        last = self.count() - 1
        self.put(number, self.slot(last))
        self.write(PROCESSES + SLOT_SIZE * last, bytes(SLOT_SIZE))
        self.write(COUNT, struct.pack("<i", last))

    def end(self, number):
        """As at HAMi-core's exit: pid and status, and no more."""
        base = PROCESSES + SLOT_SIZE * number
        self.write(base, bytes(4))
        self.write(base + STATUS, bytes(4))
