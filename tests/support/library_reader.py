# SPDX-License-Identifier: Apache-2.0
"""Opens, maps and checks a library in a tight loop; `reader.py LIBRARY READS STOP FILE...` where FILE are its versions.

Goes on until it has READS and the file STOP exists. Prints `reads torn missing`.
"""

import mmap
import os
import sys
from pathlib import Path


def main():
    library, least, stop = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    versions = [Path(name).read_bytes() for name in sys.argv[4:]]
    reads = torn = missing = 0
    while reads < least or reads % 64 or not stop.exists():
        reads += 1
        try:
            descriptor = os.open(library, os.O_RDONLY)
        except FileNotFoundError:
            missing += 1
            continue
        try:
            with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
                torn += mapped[:] not in versions
        except ValueError:
            # An empty file cannot be mapped.
            torn += 1
        os.close(descriptor)
    sys.stdout.write(f"{reads} {torn} {missing}\n")


main()
