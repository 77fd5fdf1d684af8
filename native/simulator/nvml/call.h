/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of every NVML call: initialised? faults, lock, whose handle, and back. */
#ifndef HAMI_SIM_CALL_H
#define HAMI_SIM_CALL_H

#include "node/node.h"
#include "node/store.h"
#include "nvml_abi.h"

enum access { READ, WRITE };

/* What a device handle may be; a MIG handle elsewhere is an invalid argument, or not supported for telemetry. */
enum targets { TARGET_GPU = 1, TARGET_MIG = 2, TARGET_MIG_UNSUPPORTED = 4, TARGET_LOST_TOO = 8 };

/* Between begin and end the locks are held and `node` is the state: to read, or a spare copy to change. */
struct call {
    const char *function;
    int result;
    enum access access;
    struct node *node;
    struct gpu *gpu;
    unsigned index; /* of the GPU */
    struct gpu_instance *gpu_instance;
    struct compute_instance *compute_instance;
    bool dies_after; /* a fault kills the caller once the call has had its effect */
};

/* A begin that answers false has ended the call: its caller returns `call->result`. `required` are pointers that
 * must not be NULL. */
bool call_begin(struct call *call, const char *function, enum access access, const void *required);
bool call_begin_device(struct call *call, const char *function, enum access access, unsigned targets,
                       const void *device, const void *required);
bool call_begin_gpu_instance(struct call *call, const char *function, enum access access, const void *instance,
                             const void *required);
bool call_begin_compute_instance(struct call *call, const char *function, enum access access, const void *instance,
                                 const void *required);

/* Commits a change that succeeded, gives the locks back, returns the result. */
int call_end(struct call *call, int result);

/* NO_PERMISSION where the node restricts changes to root and the caller is not. */
int call_privilege(const struct call *call);

/* Handles of what a call found; NULL if memory is short. */
void *call_gpu_handle(const struct call *call, unsigned index);
void *call_gpu_instance_handle(const struct call *call, const struct gpu_instance *instance);
void *call_compute_instance_handle(const struct call *call, const struct compute_instance *instance);
void *call_mig_handle(const struct call *call, const struct compute_instance *instance);

#endif
