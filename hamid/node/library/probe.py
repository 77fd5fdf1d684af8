# SPDX-License-Identifier: Apache-2.0
"""A small CUDA client, run as a program of its own with libvgpu preloaded: says in JSON what a container would see.

Finds its functions as NVIDIA's runtime library does: dlopen, dlsym of cuGetProcAddress_v2, everything else by that.
"""

import ctypes
import json
import sys
from typing import Final

_VERSION: Final = 12_000
_MIB: Final = 1 << 20
# The exit status when there is no libcuda.so.1 for a client.
NO_DRIVER: Final = 3


class _Info(ctypes.Structure):
    """Dl_info of dladdr(3)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


class _Driver:
    """The driver's functions by their names; a missing one is answered with CUDA_ERROR_NOT_FOUND."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def address(self, name: str) -> int:
        found, status = ctypes.c_void_p(), ctypes.c_int()
        look_up = self._library.cuGetProcAddress_v2
        look_up(name.encode(), ctypes.byref(found), _VERSION, ctypes.c_uint64(0), ctypes.byref(status))
        return found.value or 0

    def call(self, name: str, *arguments: object) -> int:
        address = self.address(name)
        return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)(*arguments)) if address else 500

    def owner(self, name: str) -> str:
        """The file that holds the function."""
        info = _Info()
        ctypes.CDLL(None).dladdr(ctypes.c_void_p(self.address(name)), ctypes.byref(info))
        return (info.file or b"").decode(errors="replace")


def probe(driver: _Driver, limit_mib: int) -> dict[str, object]:
    """What a container with this limit sees: codes of CUDA, MiB of the views."""
    context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
    begun = [
        driver.call("cuInit", 0),
        driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0),
        driver.call("cuCtxSetCurrent", context),
    ]
    over = driver.call("cuMemAlloc", ctypes.byref(pointer), ctypes.c_size_t((limit_mib + 1) * _MIB))
    within = driver.call("cuMemAlloc", ctypes.byref(pointer), ctypes.c_size_t(limit_mib // 2 * _MIB))
    left, total = ctypes.c_size_t(), ctypes.c_size_t()
    driver.call("cuMemGetInfo", ctypes.byref(left), ctypes.byref(total))
    freed = driver.call("cuMemFree", pointer)
    return {
        "begun": begun,
        "owner": driver.owner("cuMemAlloc"),
        "over": over,
        "within": within,
        "total": total.value // _MIB,
        "used": (total.value - left.value) // _MIB,
        "freed": freed,
    }


def main(limit_mib: int) -> int:
    """Print what a container would see; the exit status."""
    try:
        driver = _Driver()
    except OSError as error:
        sys.stderr.write(f"OSError: {error}\n")
        return NO_DRIVER
    sys.stdout.write(json.dumps(probe(driver, limit_mib)))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
