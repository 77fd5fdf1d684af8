# SPDX-License-Identifier: Apache-2.0
"""A CUDA driver client that does what its standard input says: one Python expression a line, its value in answer.

`d` is the driver; run it with LD_LIBRARY_PATH and HAMI_SIM_STATE as `hamictl sim env` prints them.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

DEVICE, PINNED, READ_WRITE, UNIFIED = 1, 1, 3, 4
u64 = ctypes.c_uint64
PTX = b".version 8.0\n.target sm_80\n.visible .entry kernel() { ret; }\n.global .align 4 .b8 table[4096];\n"


class Location(ctypes.Structure):
    """Which memory: a kind of place and its number."""

    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class Allocation(ctypes.Structure):
    """What cuMemCreate takes."""

    _fields_ = (("type", ctypes.c_int), ("handles", ctypes.c_int), ("location", Location), ("rest", ctypes.c_char * 16))


class Access(ctypes.Structure):
    """What cuMemSetAccess takes."""

    _fields_ = (("location", Location), ("flags", ctypes.c_int))


class Pool(ctypes.Structure):
    """What cuMemPoolCreate takes."""

    _fields_ = (("type", ctypes.c_int), ("handles", ctypes.c_int), ("location", Location), ("rest", ctypes.c_char * 72))


class Memory(ctypes.Structure):
    """What cuGraphAddMemAllocNode takes."""

    _fields_ = (
        ("pool", Pool),
        ("accesses", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("bytes", ctypes.c_size_t),
        ("pointer", ctypes.c_uint64),
    )


class Array(ctypes.Structure):
    """What cuArray3DCreate takes."""

    _fields_ = (
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("depth", ctypes.c_size_t),
        ("format", ctypes.c_int),
        ("channels", ctypes.c_uint),
        ("flags", ctypes.c_uint),
    )


class IpcHandle(ctypes.Structure):
    """Passed by value."""

    _fields_ = (("bytes", ctypes.c_ubyte * 64),)


class RefusedError(Exception):
    """The driver's answer was no success."""


class Driver:
    """The driver with one context; results that are no success are raised with their code."""

    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")

    def code(self, name, *arguments):
        """What a function answers."""
        return getattr(self.library, name)(*arguments)

    def call(self, name, *arguments):
        code = self.code(name, *arguments)
        if code != 0:
            raise RefusedError(name, code)

    def get(self, name, *arguments, kind=ctypes.c_uint64):
        """The value that a function writes through its first argument."""
        value = kind()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value

    def open(self, device=0):
        """Initialise and make the device's primary context current."""
        self.call("cuInit", 0)
        self.context = ctypes.c_void_p(self.get("cuDevicePrimaryCtxRetain", device))
        self.call("cuCtxSetCurrent", self.context)
        return os.getpid()

    def devices(self):
        """Every device's UUID and memory in MiB; the code if there is none."""
        code = self.code("cuInit", 0)
        if code != 0:
            return code
        found = []
        for device in range(self.get("cuDeviceGetCount", kind=ctypes.c_int)):
            uuid = (ctypes.c_ubyte * 16)()
            self.call("cuDeviceGetUuid_v2", uuid, device)
            found.append((bytes(uuid).hex(), self.get("cuDeviceTotalMem_v2", device) >> 20))
        return found

    def text(self, name, size):
        """A text about the first device."""
        buffer = ctypes.create_string_buffer(size)
        self.call(name, buffer, size, 0)
        return buffer.value.decode()

    def attribute(self, number, device=0):
        return self.get("cuDeviceGetAttribute", number, device, kind=ctypes.c_int)

    def alloc(self, size):
        return self.get("cuMemAlloc_v2", ctypes.c_size_t(size))

    def free(self, pointer):
        return self.code("cuMemFree_v2", ctypes.c_uint64(pointer))

    def fill(self, size):
        """Allocate pieces until there is no more; how many were had."""
        self.pieces = []
        pointer = ctypes.c_uint64()
        while self.code("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size)) == 0:
            self.pieces.append(pointer.value)
        return len(self.pieces)

    def drain(self):
        """Free the pieces."""
        return {self.free(pointer) for pointer in self.pieces}

    def info(self):
        """Free and total bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def used(self):
        free, total = self.info()
        return total - free

    def write(self, pointer, data):
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(pointer), data, ctypes.c_size_t(len(data)))

    def read(self, pointer, size):
        data = ctypes.create_string_buffer(size)
        self.call("cuMemcpyDtoH_v2", data, ctypes.c_uint64(pointer), ctypes.c_size_t(size))
        return data.raw

    def kernel(self):
        """A function of a small module."""
        module = ctypes.c_void_p(self.get("cuModuleLoadData", PTX))
        return self.get("cuModuleGetFunction", module, b"kernel")

    def launch(self, function, stream=0):
        shape = [ctypes.c_uint(1)] * 6
        rest = ctypes.c_uint(0), ctypes.c_void_p(stream), None, None
        self.call("cuLaunchKernel", ctypes.c_void_p(function), *shape, *rest)

    def on(self, device, function, *arguments):
        """What a function gives while another device's context is current."""
        other = ctypes.c_void_p(self.get("cuDevicePrimaryCtxRetain", device))
        self.call("cuCtxPushCurrent_v2", other)
        try:
            return function(*arguments)
        finally:
            self.get("cuCtxPopCurrent_v2")

    def stream_on(self, device):
        """A stream of another device; the current context stays as it is."""
        return self.on(device, self.get, "cuStreamCreate", 0)

    def physical(self, size, device=0):
        """A handle of cuMemCreate."""
        wanted = Allocation(PINNED, 1, Location(DEVICE, device))
        return self.get("cuMemCreate", ctypes.c_size_t(size), ctypes.byref(wanted), ctypes.c_uint64(0))

    def map(self, handle, size):
        """Fresh addresses with that physical memory behind them."""
        nothing = ctypes.c_uint64(0)
        address = self.get("cuMemAddressReserve", ctypes.c_size_t(size), nothing, nothing, nothing)
        place = ctypes.c_uint64(address), ctypes.c_size_t(size)
        self.call("cuMemMap", *place, nothing, ctypes.c_uint64(handle), nothing)
        access = Access(Location(DEVICE, 0), READ_WRITE)
        self.call("cuMemSetAccess", *place, ctypes.byref(access), ctypes.c_size_t(1))
        return address

    def array(self, width, height=0, depth=0, flags=0):
        wanted = Array(width, height, depth, 0x20, 1, flags)
        return self.get("cuArray3DCreate_v2", ctypes.byref(wanted))

    def mipmap(self, width, levels):
        wanted = Array(width, width, 0, 0x20, 1, 0)
        return self.get("cuMipmappedArrayCreate", ctypes.byref(wanted), ctypes.c_uint(levels))

    def pool(self, device=0, kind=DEVICE):
        wanted = Pool(PINNED, 0, Location(kind, device))
        return self.get("cuMemPoolCreate", ctypes.byref(wanted))

    def default_pool(self, device, name="cuDeviceGetDefaultMemPool"):
        return self.get(name, device)

    def from_pool(self, pool, size):
        return self.get("cuMemAllocFromPoolAsync", ctypes.c_size_t(size), ctypes.c_void_p(pool), None)

    def keep(self, pool, size):
        """The pool keeps so much of what is freed: its release threshold."""
        self.call("cuMemPoolSetAttribute", ctypes.c_void_p(pool), 4, ctypes.byref(ctypes.c_uint64(size)))
        return pool

    def pool_attribute(self, pool, attribute):
        value = ctypes.c_uint64()
        self.call("cuMemPoolGetAttribute", ctypes.c_uint64(pool), attribute, ctypes.byref(value))
        return value.value

    def variable(self):
        """Address of a variable of a module, 4096 bytes."""
        module = ctypes.c_void_p(self.get("cuModuleLoadData", PTX))
        return self.get("cuModuleGetGlobal_v2", None, module, b"table")

    def export(self, handle):
        """A physical memory imported again from its own descriptor."""
        descriptor = ctypes.c_int()
        self.call("cuMemExportToShareableHandle", ctypes.byref(descriptor), u64(handle), 1, u64(0))
        imported = self.get("cuMemImportFromShareableHandle", ctypes.c_void_p(descriptor.value), 1)
        os.close(descriptor.value)
        return imported

    def external(self, size):
        """A buffer over a file in memory, and what is read there after the file was written."""
        descriptor = os.memfd_create("external")
        os.write(descriptor, b"outside" + bytes(size - 7))
        wanted = struct.pack("<i4xi12xQI64x4x", 1, descriptor, size, 0)
        memory = ctypes.c_void_p(self.get("cuImportExternalMemory", wanted))
        pointer = self.get("cuExternalMemoryGetMappedBuffer", memory, struct.pack("<QQI64x4x", 0, size, 0))
        self.call("cuDestroyExternalMemory", memory)
        return pointer, self.read(pointer, 7)

    def through_array(self, data, width, height):
        """The bytes after a way through a plane of floats, in by lines and out whole."""
        array = ctypes.c_void_p(self.array(width, height))
        row = width * 4
        for line in range(height):
            part = data[line * row : (line + 1) * row]
            self.call("cuMemcpyHtoA_v2", array, ctypes.c_size_t(line * row), part, ctypes.c_size_t(row))
        back = ctypes.create_string_buffer(len(data))
        self.call("cuMemcpyAtoH_v2", back, array, ctypes.c_size_t(0), ctypes.c_size_t(len(data)))
        beyond = self.code("cuMemcpyAtoH_v2", back, array, ctypes.c_size_t(row * height), ctypes.c_size_t(row))
        return back.raw, beyond

    def ipc_handle(self, pointer):
        handle = (ctypes.c_ubyte * 64)()
        self.call("cuIpcGetMemHandle", handle, ctypes.c_uint64(pointer))
        return bytes(handle)

    def ipc_open(self, handle):
        return self.get("cuIpcOpenMemHandle_v2", IpcHandle.from_buffer_copy(handle), 1)

    def graph_memory(self, *sizes, flags=0):
        """A graph that allocates on one device after the other, ready to launch: (executable graph, last address)."""
        graph = ctypes.c_void_p(self.get("cuGraphCreate", 0))
        for device, size in enumerate(sizes):
            wanted = Memory(Pool(PINNED, 0, Location(DEVICE, device)), None, 0, size, 0)
            self.get("cuGraphAddMemAllocNode", graph, None, ctypes.c_size_t(0), ctypes.byref(wanted))
        return self.get("cuGraphInstantiateWithFlags", graph, ctypes.c_uint64(flags)), wanted.pointer

    def resolve(self, name, version, flags=0):
        """What cuGetProcAddress_v2 answers: code, address, status."""
        address, status = ctypes.c_void_p(), ctypes.c_int(-1)
        code = self.code("cuGetProcAddress_v2", name, ctypes.byref(address), version, u64(flags), ctypes.byref(status))
        return code, address.value, status.value

    def address(self, symbol):
        return ctypes.cast(getattr(self.library, symbol), ctypes.c_void_p).value

    def misresolved(self, rows):
        """Of (name, version, flags, symbol) those that do not resolve to the exported symbol."""
        return [row for row in rows if self.resolve(*row[:3]) != (0, self.address(row[3]), 0)]

    def event(self, stream=0):
        """An event recorded now."""
        event = self.get("cuEventCreate", 0)
        self.call("cuEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(stream))
        return event

    def elapsed(self, start, end):
        """Milliseconds between two events."""
        events = ctypes.c_void_p(start), ctypes.c_void_p(end)
        return self.get("cuEventElapsedTime_v2", *events, kind=ctypes.c_float)

    def callback_order(self, stream, function):
        """What happens in which order: a kernel is launched, a host function queued, the stream synchronised."""
        seen = []
        callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: seen.append("called"))
        self.launch(function, stream)
        self.call("cuLaunchHostFunc", ctypes.c_void_p(stream), callback, None)
        seen.append("queued")
        busy = self.code("cuStreamQuery", ctypes.c_void_p(stream))
        self.call("cuStreamSynchronize", ctypes.c_void_p(stream))
        seen.append("done")
        return busy, seen

    def forked(self):
        """What a forked child gets from a call, and from a new cuInit."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            codes = self.code("cuCtxGetCurrent", ctypes.byref(ctypes.c_void_p())), self.code("cuInit", 0)
            os.write(writer, repr(codes).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return os.read(reader, 100).decode()


def main():
    names = {"d": Driver(), "ctypes": ctypes, "os": os, "u64": u64}
    for line in sys.stdin:
        try:
            answer = eval(line, names)  # the test is who writes it
        except RefusedError as error:
            answer = error.args
        print(repr(answer), flush=True)


if __name__ == "__main__":
    main()
