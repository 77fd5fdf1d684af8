/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/device.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cuda_abi.h"
#include "driver.h"
#include "region/attach.h"

#define ORDINALS 64
#define UUID_TEXT 96

atomic_int device_control;

bool device_decide_control(void)
{
    const struct vgpu_environment *environment = region_environment();
    bool wanted = environment->cache[0] != '\0';
    for (int device = 0; device < VGPU_DEVICES; device++)
        wanted = wanted || environment->memory_limit[device] != 0;
    wanted = wanted && !environment->disabled;
    atomic_store_explicit(&device_control, wanted ? 1 : -1, memory_order_relaxed);
    return wanted;
}

/* The entry of a comma list, trimmed; false beyond its end. */
static bool list_entry(const char *list, int number, char *entry, size_t size)
{
    for (; list != NULL && number > 0; number--) {
        list = strchr(list, ',');
        list = list != NULL ? list + 1 : NULL;
    }
    if (list == NULL)
        return false;
    list += strspn(list, " ");
    size_t length = strcspn(list, ", ");
    if (length == 0 || length >= size)
        return false;
    memcpy(entry, list, length);
    entry[length] = '\0';
    return true;
}

static bool is_number(const char *text, int *value)
{
    *value = 0;
    for (const char *digit = text; *digit != '\0'; digit++) {
        if (!isdigit((unsigned char)*digit) || *value > 1000)
            return false;
        *value = *value * 10 + (*digit - '0');
    }
    return *text != '\0';
}

/* Where a UUID stands among the devices that the container was given. */
static int place_in_container(const char *uuid)
{
    const char *given = getenv("NVIDIA_VISIBLE_DEVICES");
    char entry[UUID_TEXT];
    for (int place = 0; given != NULL && list_entry(given, place, entry, sizeof entry); place++)
        if (strcasecmp(entry, uuid) == 0)
            return place;
    return -1;
}

static int index_by_nvml(const char *uuid)
{
    int (*initialise)(void) = DRIVER(nvmlInit_v2, int (*)(void));
    int (*by_uuid)(const char *, void **) = DRIVER(nvmlDeviceGetHandleByUUID, int (*)(const char *, void **));
    int (*index_of)(void *, unsigned *) = DRIVER(nvmlDeviceGetIndex, int (*)(void *, unsigned *));
    int (*end)(void) = DRIVER(nvmlShutdown, int (*)(void));
    void *handle;
    unsigned index = 0;
    if (initialise == NULL || by_uuid == NULL || index_of == NULL || end == NULL || initialise() != 0)
        return -1;
    bool found = by_uuid(uuid, &handle) == 0 && index_of(handle, &index) == 0;
    end();
    return found ? (int)index : -1;
}

static bool uuid_of(int ordinal, char *text)
{
    int (*get)(struct cu_uuid *, int) = DRIVER(cuDeviceGetUuid_v2, int (*)(struct cu_uuid *, int));
    struct cu_uuid uuid;
    if (get == NULL)
        get = DRIVER(cuDeviceGetUuid, int (*)(struct cu_uuid *, int));
    if (get == NULL || get(&uuid, ordinal) != CU_SUCCESS)
        return false;
    char *end = text + sprintf(text, "GPU-");
    for (int i = 0; i < 16; i++)
        end += sprintf(end, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid.bytes[i]);
    return true;
}

/* CUDA numbers what CUDA_VISIBLE_DEVICES leaves from 0 on; a UUID there is looked up in what the container was given. */
static int resolve(int ordinal)
{
    char entry[UUID_TEXT], uuid[UUID_TEXT];
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int index;
    if (visible == NULL || !list_entry(visible, ordinal, entry, sizeof entry))
        return ordinal;
    if (is_number(entry, &index))
        return index;
    index = place_in_container(entry);
    if (index < 0 && uuid_of(ordinal, uuid))
        index = place_in_container(uuid) >= 0 ? place_in_container(uuid) : index_by_nvml(uuid);
    return index >= 0 ? index : ordinal;
}

static void name_in_region(int index, int ordinal)
{
    char uuid[UUID_TEXT];
    struct region *region = region_get();
    if (region == NULL || index >= VGPU_DEVICES || !uuid_of(ordinal, uuid))
        return;
    memcpy(region->shared->uuids[index], uuid, strlen(uuid) + 1);
    if (region->shared->device_count < (uint64_t)index + 1)
        region->shared->device_count = (uint64_t)index + 1;
}

int device_index(int ordinal)
{
    static _Atomic signed char known[ORDINALS]; /* index + 1; negative: none */
    if (ordinal < 0 || ordinal >= ORDINALS)
        return -1;
    int index = atomic_load_explicit(&known[ordinal], memory_order_acquire);
    if (VGPU_LIKELY(index != 0))
        return index > 0 ? index - 1 : -1;
    index = resolve(ordinal);
    if (index < VGPU_DEVICES)
        name_in_region(index, ordinal);
    atomic_store_explicit(&known[ordinal], (signed char)(index < VGPU_DEVICES ? index + 1 : -1), memory_order_release);
    return index < VGPU_DEVICES ? index : -1;
}

/* What a thread found out last of its current context. A context stays on its device, so that one question to the driver
 * is enough until some context ends. */
struct current {
    void *context;
    unsigned epoch;
    int ordinal, index;
};

static __thread struct current last __attribute__((tls_model("initial-exec")));
static atomic_uint epoch;

void device_forget_contexts(void)
{
    atomic_fetch_add(&epoch, 1);
}

static int ask_device(void *context, unsigned now)
{
    int (*device)(int *) = DRIVER(cuCtxGetDevice, int (*)(int *));
    int ordinal = 0;
    int result = device != NULL ? device(&ordinal) : CU_SUCCESS;
    if (result != CU_SUCCESS)
        return device_refused(result);
    last = (struct current){.context = context, .epoch = now, .ordinal = ordinal, .index = device_index(ordinal)};
    return last.index;
}

/* Fills `last`, unless the driver refuses. In a driver that lacks one of the two questions the first device counts:
 * nothing is given uncounted. */
static inline int ask_current(void)
{
    int (*get)(void **) = DRIVER(cuCtxGetCurrent, int (*)(void **));
    unsigned now = atomic_load_explicit(&epoch, memory_order_acquire);
    void *context = NULL;
    int result = get != NULL ? get(&context) : CU_SUCCESS;
    if (VGPU_UNLIKELY(result != CU_SUCCESS))
        return device_refused(result);
    if (VGPU_LIKELY(context != NULL && context == last.context && now == last.epoch))
        return last.index;
    return ask_device(context, now);
}

int device_current(int *ordinal, uint64_t *context)
{
    int index = ask_current();
    *ordinal = last.ordinal;
    *context = (uint64_t)(uintptr_t)last.context;
    return index;
}

int device_current_index(void)
{
    return ask_current();
}

static bool is_alone(void)
{
    static atomic_int known; /* 0: not yet */
    int (*ask)(int *) = DRIVER(cuDeviceGetCount, int (*)(int *));
    int count = atomic_load_explicit(&known, memory_order_relaxed);
    if (VGPU_UNLIKELY(count == 0) && ask != NULL && ask(&count) == CU_SUCCESS)
        atomic_store_explicit(&known, count, memory_order_relaxed);
    return count == 1 || ask == NULL;
}

/* For drivers before CUDA 12.8, which say only in which context a stream is. */
static int index_in_context_of(void *stream)
{
    int (*context_of)(void *, void **) = DRIVER(cuStreamGetCtx, int (*)(void *, void **));
    int (*push)(void *) = DRIVER(cuCtxPushCurrent_v2, int (*)(void *));
    int (*pop)(void **) = DRIVER(cuCtxPopCurrent_v2, int (*)(void **));
    void *context;
    if (context_of == NULL || push == NULL || pop == NULL || context_of(stream, &context) != CU_SUCCESS ||
        push(context) != CU_SUCCESS)
        return device_current_index();
    int index = device_current_index();
    pop(&context);
    return index;
}

int device_of_stream(void *stream)
{
    int (*device_of)(void *, int *) = DRIVER(cuStreamGetDevice, int (*)(void *, int *));
    int ordinal;
    if (stream == NULL || stream == CU_LEGACY_STREAM || stream == CU_PER_THREAD_STREAM || is_alone())
        return device_current_index();
    return device_of != NULL && device_of(stream, &ordinal) == CU_SUCCESS ? device_index(ordinal)
                                                                          : index_in_context_of(stream);
}

int device_of_nvml(void *handle)
{
    int (*uuid_of_handle)(void *, char *, unsigned) = DRIVER(nvmlDeviceGetUUID, int (*)(void *, char *, unsigned));
    int (*index_of)(void *, unsigned *) = DRIVER(nvmlDeviceGetIndex, int (*)(void *, unsigned *));
    struct region *region = region_get();
    char uuid[UUID_TEXT];
    unsigned number;
    if (region == NULL || uuid_of_handle == NULL || uuid_of_handle(handle, uuid, sizeof uuid) != 0)
        return -1;
    for (int index = 0; index < VGPU_DEVICES; index++)
        if (strncasecmp(uuid + 4, region->shared->uuids[index] + 4, 36) == 0)
            return index;
    if (index_of == NULL || strncmp(uuid, "GPU-", 4) != 0 || index_of(handle, &number) != 0)
        return -1;
    return number < VGPU_DEVICES ? (int)number : -1;
}
