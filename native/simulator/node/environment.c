/* SPDX-License-Identifier: Apache-2.0 */
#include "node/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int open_private(struct store *store, const char *text, char *message, size_t size)
{
    struct spec spec;
    if (!spec_parse(text, &spec, message, size))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    return store_open_private(store, &spec, message, size);
}

int environment_open(struct store *store, char *message, size_t size)
{
    const char *path = getenv("HAMI_SIM_STATE"), *text = getenv("HAMI_SIM_NODE");
    if (path != NULL && path[0] != '\0')
        return store_open(store, path, message, size);
    if (text != NULL && text[0] != '\0')
        return open_private(store, text, message, size);
    snprintf(message, size, "neither HAMI_SIM_STATE nor HAMI_SIM_NODE is set");
    return NVML_ERROR_DRIVER_NOT_LOADED;
}

static uint64_t wall_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A node whose driver is absent, or appears only later, answers as a machine without the kernel module. */
int environment_check_driver(struct store *store)
{
    int result = store_lock(store);
    if (result != NVML_SUCCESS)
        return result;
    const struct behaviour *behaviour = &store_current(store)->behaviour;
    if (behaviour->driver_absent || wall_clock_ms() < behaviour->appears_at_ms)
        result = NVML_ERROR_DRIVER_NOT_LOADED;
    store_unlock(store);
    return result;
}
