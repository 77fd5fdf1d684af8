/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the many NVML getters that answer one number about a GPU: name, type, what it may be asked of, and the
 * number as an expression over `call`, `sheet` (the data sheet) and `busy` (its activity). */
#ifndef HAMI_SIM_VALUES_H
#define HAMI_SIM_VALUES_H

#include "node/telemetry.h"
#include "nvml/call.h"

enum { ON_GPU = TARGET_GPU | TARGET_MIG_UNSUPPORTED, ON_BOTH = TARGET_GPU | TARGET_MIG };

#define VALUE(name, type, targets, expression)                                                                         \
    EXPORT int name(void *device, type *value)                                                                         \
    {                                                                                                                  \
        struct call call;                                                                                              \
        if (!call_begin_device(&call, __func__, READ, targets, device, value))                                         \
            return call.result;                                                                                        \
        *value = (type)(expression);                                                                                   \
        return call_end(&call, NVML_SUCCESS);                                                                          \
    }

/* The same where a data sheet is needed: NOT_SUPPORTED without one. */
#define SHEET_VALUE(name, type, expression)                                                                            \
    EXPORT int name(void *device, type *value)                                                                         \
    {                                                                                                                  \
        struct call call;                                                                                              \
        if (!call_begin_device(&call, __func__, READ, ON_GPU, device, value))                                          \
            return call.result;                                                                                        \
        const struct datasheet *sheet = telemetry_datasheet(call.gpu);                                                 \
        if (sheet == NULL)                                                                                             \
            return call_end(&call, NVML_ERROR_NOT_SUPPORTED);                                                          \
        struct activity busy = telemetry_activity(call.node, call.gpu, sheet);                                         \
        (void)busy;                                                                                                    \
        *value = (type)(expression);                                                                                   \
        return call_end(&call, NVML_SUCCESS);                                                                          \
    }

#endif
