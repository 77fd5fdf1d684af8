/* SPDX-License-Identifier: Apache-2.0 */
/* NVML's binary interface, in our own words: return codes, versions and structures that callers pass in.
 * Sizes and offsets are asserted in simulator/nvml/abi.c; facts: nvml.h of CUDA 12.9 and nvidia-ml-py 13.615. */
#ifndef HAMI_SIM_NVML_ABI_H
#define HAMI_SIM_NVML_ABI_H

#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum nvml_result {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_RESET_REQUIRED = 16,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_IN_USE = 19,
    NVML_ERROR_MEMORY = 20,
    NVML_ERROR_INSUFFICIENT_RESOURCES = 23,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_GPU_NOT_FOUND = 28,
    NVML_ERROR_UNKNOWN = 999
};

/* The first values beyond the enumerations that callers walk until INVALID_ARGUMENT. */
enum { GPU_INSTANCE_PROFILE_COUNT = 18, COMPUTE_INSTANCE_PROFILE_COUNT = 9, COMPUTE_ENGINE_PROFILE_COUNT = 1 };

enum { NAME_SIZE = 96, WHOLE_GPU = 0xFFFFFFFF };

/* A versioned structure carries its own size in the low 24 bits and the version in the high 8. */
#define STRUCT_VERSION(type, version) ((unsigned)sizeof(type) | ((version) << 24U))

struct nvml_pci_info {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml_pci_info_v1 {
    char bus_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    unsigned reserved[4];
};

struct nvml_pci_info_ext {
    unsigned version, domain, bus, device, device_id, subsystem_id, base_class, sub_class;
    char bus_id[32];
};

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

struct nvml_process_v1 {
    unsigned pid;
    unsigned long long used_memory;
};

struct nvml_process {
    unsigned pid;
    unsigned long long used_memory;
    unsigned gpu_instance_id, compute_instance_id;
};

struct nvml_attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpeg, ofa;
    unsigned gpu_instance_slices, compute_instance_slices;
    unsigned long long memory_mib;
};

struct nvml_placement {
    unsigned start, size;
};

struct nvml_profile_v1 {
    unsigned id, peer_to_peer, slices, instances, multiprocessors, copy_engines;
    unsigned decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
};

struct nvml_profile_v2 {
    unsigned version;
    unsigned id, peer_to_peer, slices, instances, multiprocessors, copy_engines;
    unsigned decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
    char name[NAME_SIZE];
};

struct nvml_profile_v3 {
    unsigned version;
    unsigned id, slices, instances, multiprocessors, copy_engines;
    unsigned decoders, encoders, jpeg, ofa;
    unsigned long long memory_mib;
    char name[NAME_SIZE];
    unsigned capabilities;
};

struct nvml_instance_info {
    void *device;
    unsigned id, profile_id;
    struct nvml_placement placement;
};

struct nvml_compute_profile_v1 {
    unsigned id, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpeg, ofa;
};

struct nvml_compute_profile_v2 {
    unsigned version;
    unsigned id, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpeg, ofa;
    char name[NAME_SIZE];
};

struct nvml_compute_profile_v3 {
    unsigned version;
    unsigned id, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpeg, ofa;
    char name[NAME_SIZE];
    unsigned capabilities;
};

struct nvml_compute_info {
    void *device;
    void *gpu_instance;
    unsigned id, profile_id;
    struct nvml_placement placement;
};

struct nvml_bar1_memory {
    unsigned long long total, free, used;
};

struct nvml_temperature {
    unsigned version, sensor;
    int celsius;
};

struct nvml_utilization {
    unsigned gpu, memory;
};

struct nvml_event_data {
    void *device;
    unsigned long long type, data;
    unsigned gpu_instance_id, compute_instance_id;
};

struct nvml_field_value {
    unsigned field, scope;
    long long timestamp_us, latency_us;
    unsigned value_type;
    int result;
    unsigned long long value;
};

enum { PROFILE_CAPABILITY_P2P = 1, PROFILE_CAPABILITY_GRAPHICS = 2, COMPUTE_CAPABILITY_GRAPHICS = 1 };

#endif
