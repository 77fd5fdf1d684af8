/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a simulated node: plain data without pointers, so that it can lie in a file that processes share. */
#ifndef HAMI_SIM_NODE_H
#define HAMI_SIM_NODE_H

#include "node/rules.h"
#include "node/spec.h"
#include "nvml_abi.h"

#include <stdint.h>

enum {
    MAX_GPU_INSTANCES = 8,
    MAX_COMPUTE_INSTANCES = 8,
    MAX_PROCESSES = 1024,
    MAX_FAULTS = 32,
    MAX_EVENTS = 256,
    PROCESS_NAME_SIZE = 64,
    FUNCTION_NAME_SIZE = 64,
    ROOT_SIZE = 1024,
    UUID_SIZE = 80,
    NO_SLOT = 0xFFFFFFFF
};

/* A serial is never given twice on a node; 0 means that the place is free. */
struct gpu_instance {
    uint64_t serial;
    uint32_t id, profile, start, reserved;
};

struct compute_instance {
    uint64_t serial;
    uint32_t gpu_instance, id, profile_id, start, slices, mig_index;
};

struct gpu {
    uint32_t board, variant, ordinal;
    uint8_t mig_current, mig_pending, lost, reset_required;
    uint8_t swapped_ids, fresh_uuids, info_device_is_mig, persistence;
    int32_t activation; /* forced activation status of SetMigMode, or -1 */
    int32_t memory_drift_mib, name_drift_gb;
    uint32_t kernel_us, context_mib; /* how long a launch takes, what a context costs */
    uint64_t resets, ecc_corrected, ecc_uncorrected, last_xid;
    struct gpu_instance gpu_instances[MAX_GPU_INSTANCES];
    struct compute_instance compute_instances[MAX_COMPUTE_INSTANCES];
};

enum process_kind { PROCESS_COMPUTE, PROCESS_GRAPHICS, PROCESS_MPS };

/* A process on a GPU. It is alive while /proc shows that pid with that start time. */
struct process {
    uint64_t start_time, memory_bytes;
    uint64_t gpu_instance, compute_instance; /* serials; 0 = the whole GPU */
    uint32_t pid, gpu;
    uint32_t kind, is_holder;
    uint32_t slot, reserved; /* of its usage; memory_bytes follows it */
    char name[PROCESS_NAME_SIZE];
};

enum fault_action { FAULT_NONE, FAULT_LATENCY, FAULT_HANG, FAULT_ERROR, FAULT_KILL, FAULT_KILL_AFTER };

/* What happens at calls `first` to `first + times - 1` of a function; `gpu` NO_SLOT means any. */
struct fault {
    char function[FUNCTION_NAME_SIZE];
    uint32_t action, gpu, first, times;
    uint32_t value, reserved; /* milliseconds or error code */
};

struct event {
    uint64_t sequence, type, data;
    uint32_t gpu, gpu_instance_id, compute_instance_id, reserved;
};

/* How the node as a whole behaves. */
struct behaviour {
    uint8_t driver_absent, root_only, make_device_nodes, reserved[5];
    uint64_t appears_at_ms;              /* wall clock; 0 = the driver is there */
    uint32_t cuda_version, reserved_too; /* 0 = the newest that is simulated */
    char driver_version[32];
    char root[ROOT_SIZE];
};

struct node {
    uint32_t gpu_count, process_count, fault_count, reserved;
    uint64_t next_serial, next_event;
    struct behaviour behaviour;
    struct fault faults[MAX_FAULTS];
    struct event events[MAX_EVENTS];
    struct gpu gpus[MAX_GPUS];
    struct process processes[MAX_PROCESSES];
};

void node_make(struct node *node, const struct spec *spec);

/* Whether every index and count is within bounds: a file that other hands wrote must not crash its readers. */
bool node_is_sound(const struct node *node);

/* Copies what is in use, not the whole capacity. */
void node_copy(struct node *target, const struct node *source);

enum { NEWEST_CUDA_VERSION = 13000 };
/* The version of CUDA that the node's driver has. */
uint32_t node_cuda_version(const struct node *node);

uint64_t node_take_serial(struct node *node);

const struct board *gpu_board(const struct gpu *gpu);
const struct variant *gpu_variant(const struct gpu *gpu);
const struct profile *gpu_instance_profile(const struct gpu *gpu, const struct gpu_instance *instance);
struct layout gpu_layout(const struct gpu *gpu);
struct compute_layout gpu_compute_layout(const struct gpu *gpu, const struct gpu_instance *instance);
struct gpu_instance *gpu_instance_of(struct gpu *gpu, const struct compute_instance *instance);
struct gpu_instance *gpu_instance_by_serial(struct gpu *gpu, uint64_t serial); /* NULL: none, or serial 0 */
bool gpu_has_instances(const struct gpu *gpu);
unsigned gpu_instance_children(const struct gpu *gpu, const struct gpu_instance *instance);
unsigned gpu_index(const struct node *node, const struct gpu *gpu);

/* Memory and name of a profile as this driver version reports them: the data's plus the drift that a test asked for. */
uint64_t profile_memory_mib(const struct gpu *gpu, const struct profile *profile);

void profile_name(const struct gpu *gpu, const struct profile *profile, char name[NAME_SIZE]);

void gpu_uuid(const struct gpu *gpu, char uuid[UUID_SIZE]);
void mig_uuid(const struct gpu *gpu, const struct compute_instance *instance, char uuid[UUID_SIZE]);
bool gpu_name(const struct gpu *gpu, char *name, size_t size);
bool mig_name(const struct gpu *gpu, const struct compute_instance *instance, char *name, size_t size);

/* Removes every instance of a GPU, as a reset or a reboot does; processes on it go with their instances. */
void gpu_clear_instances(struct node *node, struct gpu *gpu);

#endif
