/* SPDX-License-Identifier: Apache-2.0 */
/* Everything else that a driver of this age exports: a client that finds the symbol gets NOT_SUPPORTED, as it does on
 * hardware that lacks the feature. */
#include "nvml/call.h"

static int unsupported(const char *function)
{
    struct call call;
    if (!call_begin(&call, function, READ, function))
        return call.result;
    return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
}

/* Arguments are ignored, which the calling conventions of x86-64 and arm64 allow. */
#define UNSUPPORTED(name)                                                                                              \
    EXPORT int name(void)                                                                                              \
    {                                                                                                                  \
        return unsupported(__func__);                                                                                  \
    }

#include "nvml/api/unsupported.h"
