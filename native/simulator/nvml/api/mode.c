/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: MIG mode, current and pending. */
#include "node/effects.h"
#include "node/process.h"
#include "nvml/call.h"

EXPORT int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU, device, current))
        return call.result;
    if (pending == NULL)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    *current = call.gpu->mig_current;
    *pending = call.gpu->mig_pending;
    return call_end(&call, NVML_SUCCESS);
}

/* A forced activation status stands for platforms where the call cannot reset the GPU, such as a passed-through
 * device: the request stays pending. */
static struct mode_change decide(const struct call *call, bool requested)
{
    struct process_scope everyone = {.gpu = call->index};
    const struct gpu *gpu = call->gpu;
    struct mode_change change = rules_mode_change(gpu->mig_current, requested, gpu_has_instances(gpu),
                                                  process_any_alive(call->node, &everyone));
    if (change.result == NVML_SUCCESS && gpu->activation >= 0 && requested != gpu->mig_current) {
        change.activation = gpu->activation;
        change.pending = requested;
        change.current = gpu->activation == NVML_SUCCESS ? requested : gpu->mig_current;
    }
    return change;
}

EXPORT int nvmlDeviceSetMigMode(void *device, unsigned mode, int *activation)
{
    struct call call;
    if (!call_begin_device(&call, __func__, WRITE, TARGET_GPU, device, activation))
        return call.result;
    if (mode > 1)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    int permission = call_privilege(&call);
    if (permission != NVML_SUCCESS)
        return call_end(&call, permission);
    struct mode_change change = decide(&call, mode);
    *activation = change.activation;
    if (change.result == NVML_SUCCESS) {
        bool toggled = call.gpu->mig_current != change.current;
        call.gpu->mig_current = change.current;
        call.gpu->mig_pending = change.pending;
        if (toggled)
            effect_mode_changed(call.node, call.index);
    }
    return call_end(&call, change.result);
}
