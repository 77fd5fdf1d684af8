/* SPDX-License-Identifier: Apache-2.0 */
/* The exported control interface of the simulator: what tests, `hamictl sim` and the holder do to a node from
 * outside, where NVML has no call for it. Python reaches it through hamid.node.simulation.control.
 *
 * A `uuid` may also be the index or the PCI address of a GPU.
 * `state` names a state file; NULL means the node that nvmlInit has open in this process. Functions return an NVML
 * code (0 = done) unless said otherwise; on failure `message` (of `size` bytes, NULL allowed) says why in words. */
#ifndef HAMI_SIM_CONTROL_H
#define HAMI_SIM_CONTROL_H

#include <stddef.h>

enum { HAMI_SIM_ABI_VERSION = 1 };

/* HAMI_SIM_ABI_VERSION of the library; raised with every incompatible change of this header. */
int hami_sim_version(void);

/* Whether `spec` (`2xA100-SXM4-40GB,1xA30`) describes a node. */
int hami_sim_spec_check(const char *spec, char *message, size_t size);

/* Makes a state file, whole or not at all; IN_USE if the path is taken. */
int hami_sim_create(const char *path, const char *spec, char *message, size_t size);

/* Whether `path` is a node state that this library can work with. */
int hami_sim_check(const char *path, char *message, size_t size);

/* Lines `KEY<tab>NVML NAME` of every board on offer. Returns the bytes that all of it needs, NUL included. */
int hami_sim_boards(char *buffer, size_t size);

/* Puts a live process on a GPU or MIG device, by UUID. It counts until it ends, or until process_remove. A GPU in
 * MIG mode takes only clients without memory, such as monitors. `name` NULL = what /proc says. */
int hami_sim_process_add(const char *state, const char *uuid, unsigned pid, unsigned long long memory_mib,
                         const char *name, char *message, size_t size);
/* Removes a process from every GPU; NOT_FOUND if it is on none. */
int hami_sim_process_remove(const char *state, unsigned pid, char *message, size_t size);
/* Whether a live process is registered: 0, or NOT_FOUND. */
int hami_sim_process_find(const char *state, unsigned pid);
/* The same for a process that exists to hold memory: it ends when the node does, and `sim down` waits for it. */
int hami_sim_holder_add(const char *state, const char *uuid, unsigned pid, unsigned long long memory_mib,
                        const char *name, char *message, size_t size);
/* Lines `PID<tab>GPU INDEX<tab>UUID<tab>MEMORY MIB<tab>HOLDER 0|1<tab>NAME` of live processes; returns the bytes that
 * all of it needs, NUL included, or minus an NVML code. */
int hami_sim_process_list(const char *state, char *buffer, size_t size);

/* What live processes use: lines `PID<tab>GPU INDEX<tab>UUID<tab>BYTES<tab>BUSY NS<tab>LAUNCHES`. Bytes are those held;
 * the time is what their kernels took of the device; both are of CUDA's clients, holders have bytes alone. Returns
 * the bytes that all of it needs, NUL included, or minus an NVML code. */
int hami_sim_usage(const char *state, char *buffer, size_t size);

/* How a node or one of its GPUs behaves. `uuid` NULL = the node. Knobs of the node, with their values:
 *   driver            present | absent | later:MS       what the next nvmlInit finds
 *   driver_version    a version, or empty for the default
 *   cuda_version      11000 to 13000, or 0 for the newest: what the driver says, and what cuGetProcAddress knows
 *   root_only         0 | 1     changes answer NO_PERMISSION to callers that are not root
 *   device_nodes      0 | 1     /dev/nvidia-caps/nvidia-capN appear below the root by themselves
 *   root              a directory: the /proc files of capabilities follow the instances below it; empty = none
 * Knobs of a GPU (all GPUs with `uuid` NULL):
 *   lost              0 | 1     fallen off the bus: every call answers GPU_IS_LOST, and Xid 79 is posted
 *   reset_required    0 | 1     the recovery action becomes a GPU reset
 *   gi_ids            straight | swapped
 *   uuids             repeat | fresh                    MIG UUIDs on re-creation
 *   info_device       parent | mig                      ComputeInstanceGetInfo's device
 *   activation        none | NVML code                  forced activation status of SetMigMode
 *   memory_drift_mib  a number that is added to every instance's memory
 *   name_drift_gb     a number that is added to the size in every profile's name
 *   kernel_us         how long a CUDA kernel takes, 0 = no time
 *   context_mib       what a CUDA context takes of the memory */
int hami_sim_set(const char *state, const char *uuid, const char *knob, const char *value, char *message, size_t size);

/* Adds a fault that every process meets: `FUNCTION[@GPU][#FIRST[+TIMES]]=latency:MS|hang|error:CODE|kill|kill-after`.
 * A function may end in `*`. Calls are counted from 1 over all processes. HAMI_SIM_FAULTS takes the same rules,
 * separated by commas, for one process. */
int hami_sim_fault_add(const char *state, const char *rule, char *message, size_t size);
int hami_sim_faults_clear(const char *state, char *message, size_t size);

/* Posts an Xid on a GPU or MIG device. */
int hami_sim_xid(const char *state, const char *uuid, unsigned long long xid, char *message, size_t size);
/* Counts ECC errors on a GPU and posts the event. */
int hami_sim_ecc(const char *state, const char *uuid, int uncorrected, unsigned long long count, char *message,
                 size_t size);

/* Resets a GPU: IN_USE while processes are on it; its instances go, a pending MIG mode becomes the current one, a
 * lost GPU is back. `uuid` NULL = every GPU. */
int hami_sim_gpu_reset(const char *state, const char *uuid, char *message, size_t size);

/* Reboots the node: processes and instances are gone; MIG mode stays on Ampere and is off on later architectures. */
int hami_sim_reboot(const char *state, char *message, size_t size);

#endif
