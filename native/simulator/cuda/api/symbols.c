/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: functions by name and version. */
#include "cuda/api/symbols.h"

#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/init.h"

#include <string.h>

int symbol_unsupported(const char *name)
{
    struct call call __attribute__((cleanup(call_end))) = {false};
    int refused = call_begin(&call, name);
    return refused != CU_SUCCESS ? refused : CU_ERROR_NOT_SUPPORTED;
}

/* The first row of a name, or the end of the table. */
static unsigned find_name(const char *name)
{
    unsigned low = 0, high = symbol_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (strcmp(symbol_table[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < symbol_count && strcmp(symbol_table[low].name, name) == 0 ? low : symbol_count;
}

/* The newest row of that kind which a client of that version knows. */
static const struct symbol *newest(const char *name, int version, bool per_thread)
{
    const struct symbol *best = NULL;
    int known = driver_version(), most = version < known ? version : known;
    for (unsigned row = find_name(name); row < symbol_count && strcmp(symbol_table[row].name, name) == 0; row++)
        if ((symbol_table[row].is_per_thread != 0) == per_thread && symbol_table[row].version <= most)
            best = &symbol_table[row];
    return best;
}

static int find(const char *name, void **function, int version, unsigned long long flags, int *status)
{
    int nowhere = CU_PROC_SYMBOL_NOT_FOUND;
    const struct symbol *found = NULL;
    if (name == NULL || function == NULL || flags > CU_PROC_PER_THREAD_STREAM)
        return CU_ERROR_INVALID_VALUE;
    *function = NULL;
    if (newest(name, driver_version(), false) != NULL)
        nowhere = CU_PROC_VERSION_NOT_SUFFICIENT;
    if (flags == CU_PROC_PER_THREAD_STREAM)
        found = newest(name, version, true);
    if (found == NULL)
        found = newest(name, version, false);
    if (status != NULL)
        *status = found != NULL ? CU_PROC_FOUND : nowhere;
    if (found == NULL)
        return CU_ERROR_NOT_FOUND;
    *function = found->function;
    return CU_SUCCESS;
}

CUDA_API int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status)
{
    ENTER_EARLY();
    return find(name, function, version, flags, status);
}

CUDA_API int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags)
{
    ENTER_EARLY();
    return find(name, function, version, flags, NULL);
}
