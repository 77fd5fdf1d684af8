/* SPDX-License-Identifier: Apache-2.0 */
/* Control interface: specs, boards and state files. */
#include "control/control.h"

#include "control/access.h"

EXPORT int hami_sim_version(void)
{
    return HAMI_SIM_ABI_VERSION;
}

EXPORT int hami_sim_spec_check(const char *spec, char *message, size_t size)
{
    char reason[2048] = "";
    struct spec parsed;
    if (spec_parse(spec, &parsed, reason, sizeof reason))
        return NVML_SUCCESS;
    return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "%s", reason);
}

EXPORT int hami_sim_create(const char *path, const char *spec, char *message, size_t size)
{
    char reason[2048] = "";
    struct spec parsed;
    if (!spec_parse(spec, &parsed, reason, sizeof reason))
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "%s", reason);
    int result = store_create(path, &parsed, reason, sizeof reason);
    return result == NVML_SUCCESS ? result : explain(message, size, result, "%s", reason);
}

EXPORT int hami_sim_check(const char *path, char *message, size_t size)
{
    struct access_scope scope;
    if (path == NULL)
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "no path given");
    int result = access_begin(&scope, path, READ, message, size);
    return result == NVML_SUCCESS ? access_end(&scope, result) : result;
}

EXPORT int hami_sim_boards(char *buffer, size_t size)
{
    return (int)board_list(buffer, buffer != NULL ? size : 0);
}
