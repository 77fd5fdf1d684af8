/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA driver's binary interface, in our own words: result codes, constants and structures that callers pass in.
 * Shared by the simulated driver and by libvgpu. Names differ from NVIDIA's, so that one file can include both:
 * tests/simulator/cuda/abi_check.c asserts every size, offset and value where NVIDIA's header is installed.
 * Handles are `void *`; a result is `int`; a device is `int`. Structures are those of the newest version (_v2 and
 * later), which every 64-bit client since CUDA 3.2 uses. */
#ifndef HAMI_CUDA_ABI_H
#define HAMI_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef unsigned long long cu_pointer; /* device memory; equal to the host address where memory is unified */

enum cu_result {
    CU_SUCCESS = 0,
    CU_ERROR_INVALID_VALUE = 1,
    CU_ERROR_OUT_OF_MEMORY = 2,
    CU_ERROR_NOT_INITIALIZED = 3,
    CU_ERROR_DEINITIALIZED = 4,
    CU_ERROR_STUB_LIBRARY = 34,
    CU_ERROR_DEVICE_UNAVAILABLE = 46,
    CU_ERROR_NO_DEVICE = 100,
    CU_ERROR_INVALID_DEVICE = 101,
    CU_ERROR_INVALID_IMAGE = 200,
    CU_ERROR_INVALID_CONTEXT = 201,
    CU_ERROR_MAP_FAILED = 205,
    CU_ERROR_UNMAP_FAILED = 206,
    CU_ERROR_ARRAY_IS_MAPPED = 207,
    CU_ERROR_ALREADY_MAPPED = 208,
    CU_ERROR_NOT_MAPPED = 211,
    CU_ERROR_UNSUPPORTED_LIMIT = 215,
    CU_ERROR_CONTEXT_ALREADY_IN_USE = 216,
    CU_ERROR_PEER_ACCESS_UNSUPPORTED = 217,
    CU_ERROR_OPERATING_SYSTEM = 304,
    CU_ERROR_INVALID_HANDLE = 400,
    CU_ERROR_ILLEGAL_STATE = 401,
    CU_ERROR_NOT_FOUND = 500,
    CU_ERROR_NOT_READY = 600,
    CU_ERROR_ILLEGAL_ADDRESS = 700,
    CU_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
    CU_ERROR_PEER_ACCESS_NOT_ENABLED = 705,
    CU_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
    CU_ERROR_CONTEXT_IS_DESTROYED = 709,
    CU_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
    CU_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
    CU_ERROR_NOT_PERMITTED = 800,
    CU_ERROR_NOT_SUPPORTED = 801,
    CU_ERROR_SYSTEM_NOT_READY = 802,
    CU_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CU_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
    CU_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
    CU_ERROR_UNKNOWN = 999
};

/* The two streams that are no objects; NULL is the legacy one unless a function's name ends in _ptds or _ptsz. */
#define CU_LEGACY_STREAM ((void *)0x1)
#define CU_PER_THREAD_STREAM ((void *)0x2)

enum cu_proc_flags { CU_PROC_DEFAULT, CU_PROC_LEGACY_STREAM, CU_PROC_PER_THREAD_STREAM };
enum cu_proc_status { CU_PROC_FOUND, CU_PROC_SYMBOL_NOT_FOUND, CU_PROC_VERSION_NOT_SUFFICIENT };

enum cu_memory_type { CU_MEMORY_HOST = 1, CU_MEMORY_DEVICE, CU_MEMORY_ARRAY, CU_MEMORY_UNIFIED };
enum cu_attach { CU_ATTACH_GLOBAL = 1, CU_ATTACH_HOST = 2, CU_ATTACH_SINGLE = 4 };

enum cu_location_type {
    CU_LOCATION_NONE,
    CU_LOCATION_DEVICE,
    CU_LOCATION_HOST,
    CU_LOCATION_HOST_NUMA,
    CU_LOCATION_HOST_NUMA_CURRENT
};

enum cu_allocation_type { CU_ALLOCATION_INVALID, CU_ALLOCATION_PINNED, CU_ALLOCATION_MANAGED };
enum cu_handle_type { CU_HANDLE_NONE = 0, CU_HANDLE_POSIX_FD = 1, CU_HANDLE_FABRIC = 8 };
enum cu_granularity { CU_GRANULARITY_MINIMUM, CU_GRANULARITY_RECOMMENDED };

enum cu_pool_attribute {
    CU_POOL_REUSE_FOLLOW_EVENT_DEPENDENCIES = 1,
    CU_POOL_REUSE_ALLOW_OPPORTUNISTIC,
    CU_POOL_REUSE_ALLOW_INTERNAL_DEPENDENCIES,
    CU_POOL_RELEASE_THRESHOLD,
    CU_POOL_RESERVED_CURRENT,
    CU_POOL_RESERVED_HIGH,
    CU_POOL_USED_CURRENT,
    CU_POOL_USED_HIGH
};

enum cu_graph_memory_attribute {
    CU_GRAPH_MEMORY_USED_CURRENT,
    CU_GRAPH_MEMORY_USED_HIGH,
    CU_GRAPH_MEMORY_RESERVED_CURRENT,
    CU_GRAPH_MEMORY_RESERVED_HIGH
};

enum cu_node_type {
    CU_NODE_KERNEL,
    CU_NODE_MEMCPY,
    CU_NODE_MEMSET,
    CU_NODE_HOST,
    CU_NODE_GRAPH,
    CU_NODE_EMPTY,
    CU_NODE_WAIT_EVENT,
    CU_NODE_EVENT_RECORD,
    CU_NODE_MEM_ALLOC = 10,
    CU_NODE_MEM_FREE
};

enum cu_instantiate_flags { CU_INSTANTIATE_AUTO_FREE_ON_LAUNCH = 1, CU_INSTANTIATE_UPLOAD = 2 };

enum cu_capture_status { CU_CAPTURE_NONE, CU_CAPTURE_ACTIVE, CU_CAPTURE_INVALIDATED };

enum cu_array_flags { CU_ARRAY_LAYERED = 1, CU_ARRAY_CUBEMAP = 4, CU_ARRAY_SPARSE = 0x40, CU_ARRAY_DEFERRED = 0x80 };

enum cu_array_format {
    CU_FORMAT_UNSIGNED_INT8 = 0x01,
    CU_FORMAT_UNSIGNED_INT16 = 0x02,
    CU_FORMAT_UNSIGNED_INT32 = 0x03,
    CU_FORMAT_SIGNED_INT8 = 0x08,
    CU_FORMAT_SIGNED_INT16 = 0x09,
    CU_FORMAT_SIGNED_INT32 = 0x0a,
    CU_FORMAT_HALF = 0x10,
    CU_FORMAT_FLOAT = 0x20
};

enum cu_external_memory_type { CU_EXTERNAL_OPAQUE_FD = 1 };

struct cu_uuid {
    unsigned char bytes[16];
};

struct cu_array {
    size_t width, height;
    int format;
    unsigned channels;
};

/* Height 0 is a line, depth 0 a plane; with the layered flag depth counts layers. */
struct cu_array3d {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};

struct cu_array_memory {
    size_t size, alignment;
    unsigned reserved[4];
};

struct cu_location {
    int type, id;
};

struct cu_allocation {
    int type, handle_types;
    struct cu_location location;
    void *security_attributes;
    unsigned char compression, rdma_capable;
    unsigned short usage;
    unsigned char reserved[4];
};

struct cu_access {
    struct cu_location location;
    int flags;
};

struct cu_pool {
    int type, handle_types;
    struct cu_location location;
    void *security_attributes;
    size_t max_size;
    unsigned short usage;
    unsigned char reserved[54];
};

struct cu_pool_pointer_export {
    unsigned char bytes[64];
};

struct cu_ipc_handle {
    char bytes[64];
};

struct cu_launch_config {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    void *stream, *attributes;
    unsigned attribute_count;
};

/* One of the launches of cuLaunchCooperativeKernelMultiDevice. */
struct cu_launch_params {
    void *function;
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    void *stream;
    void **parameters;
};

struct cu_memcpy2d {
    size_t source_x, source_y;
    int source_type;
    const void *source_host;
    cu_pointer source_device;
    void *source_array;
    size_t source_pitch;
    size_t target_x, target_y;
    int target_type;
    void *target_host;
    cu_pointer target_device;
    void *target_array;
    size_t target_pitch;
    size_t width, height;
};

/* Also that of the peer functions, which carry a context where this one has `reserved`. */
struct cu_memcpy3d {
    size_t source_x, source_y, source_z, source_level;
    int source_type;
    const void *source_host;
    cu_pointer source_device;
    void *source_array, *source_reserved;
    size_t source_pitch, source_height;
    size_t target_x, target_y, target_z, target_level;
    int target_type;
    void *target_host;
    cu_pointer target_device;
    void *target_array, *target_reserved;
    size_t target_pitch, target_height;
    size_t width, height, depth;
};

struct cu_kernel_node {
    void *function;
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    void **parameters, **extra;
    void *kernel, *context; /* not in the first version */
};

struct cu_memset_node {
    cu_pointer target;
    size_t pitch;
    unsigned value, element_size;
    size_t width, height;
    void *context; /* not in the first version */
};

struct cu_memcpy_node {
    int flags, reserved;
    void *context;
    struct cu_memcpy3d copy;
};

struct cu_host_node {
    void (*function)(void *data);
    void *data;
};

struct cu_child_graph_node {
    void *graph;
    int ownership;
};

/* What cuGraphAddMemAllocNode takes; the driver writes `pointer`. */
struct cu_memory_node {
    struct cu_pool pool;
    const struct cu_access *accesses;
    size_t access_count, bytes;
    cu_pointer pointer;
};

/* What cuGraphAddNode takes. */
struct cu_node {
    int type, reserved[3];
    union {
        long long words[29];
        struct cu_kernel_node kernel;
        struct cu_memcpy_node memcpy;
        struct cu_memset_node memset;
        struct cu_host_node host;
        struct cu_child_graph_node graph;
        void *event;
        struct cu_memory_node memory;
        cu_pointer freed;
    };
    long long reserved_end;
};

struct cu_instantiate {
    unsigned long long flags;
    void *upload_stream, *error_node;
    int result;
};

struct cu_external_memory {
    int type;
    union {
        int descriptor;
        struct {
            void *handle;
            const void *name;
        } windows;
        const void *nvscibuf;
    };
    unsigned long long size;
    unsigned flags, reserved[16];
};

struct cu_external_buffer {
    unsigned long long offset, size;
    unsigned flags, reserved[16];
};

struct cu_external_mipmap {
    unsigned long long offset;
    struct cu_array3d array;
    unsigned levels, reserved[16];
};

#endif
