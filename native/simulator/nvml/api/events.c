/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: event sets. Each set reads the node's ring of events from the moment of its registrations on, so that every
 * process gets every event; waiting holds no lock. */
#include "node/event.h"
#include "nvml/call.h"
#include "nvml/session.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SETS = 256, LOOK_AGAIN_MS = 250 };

struct event_set {
    uint64_t masks[MAX_GPUS], sequence;
    bool is_open;
};

/* Guarded by the lock of the session. Sets stay allocated: a freed one is recognised, not crashed on. */
static struct event_set *sets[MAX_SETS];

static struct event_set *find_set(const void *pointer)
{
    for (unsigned index = 0; index < MAX_SETS; index++)
        if (sets[index] != NULL && sets[index] == pointer && sets[index]->is_open)
            return sets[index];
    return NULL;
}

static struct event_set *open_set(uint64_t sequence)
{
    for (unsigned index = 0; index < MAX_SETS; index++) {
        if (sets[index] == NULL)
            sets[index] = calloc(1, sizeof *sets[index]);
        if (sets[index] == NULL)
            return NULL;
        if (!sets[index]->is_open) {
            *sets[index] = (struct event_set){.sequence = sequence, .is_open = true};
            return sets[index];
        }
    }
    return NULL;
}

EXPORT int nvmlEventSetCreate(void **set)
{
    struct call call;
    if (!call_begin(&call, __func__, READ, set))
        return call.result;
    *set = open_set(call.node->next_event - 1);
    return call_end(&call, *set != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY);
}

EXPORT int nvmlEventSetFree(void *set)
{
    struct call call;
    if (!call_begin(&call, __func__, READ, set))
        return call.result;
    struct event_set *found = find_set(set);
    if (found != NULL)
        found->is_open = false;
    return call_end(&call, found != NULL ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT);
}

EXPORT int nvmlDeviceGetSupportedEventTypes(void *device, unsigned long long *types)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG_UNSUPPORTED, device, types))
        return call.result;
    *types = EVENTS_SUPPORTED;
    return call_end(&call, NVML_SUCCESS);
}

/* On the parent alone: a MIG device has no events of its own (reference 2.7). */
EXPORT int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, TARGET_GPU | TARGET_MIG_UNSUPPORTED, device, set))
        return call.result;
    struct event_set *found = find_set(set);
    if (found == NULL || types == 0)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    if (types & ~(unsigned long long)EVENTS_SUPPORTED)
        return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
    found->masks[call.index] |= types;
    return call_end(&call, NVML_SUCCESS);
}

/* The next event that the set asked for; others are passed over. */
static const struct event *take_event(struct event_set *set, const struct node *node)
{
    const struct event *event;
    while ((event = event_after(node, set->sequence)) != NULL) {
        set->sequence = event->sequence;
        if (event->gpu < MAX_GPUS && (set->masks[event->gpu] & event->type) != 0)
            return event;
    }
    return NULL;
}

static void give_event(const struct call *call, const struct event *event, struct nvml_event_data *data)
{
    *data = (struct nvml_event_data){.device = call_gpu_handle(call, event->gpu),
                                     .type = event->type,
                                     .data = event->data,
                                     .gpu_instance_id = event->gpu_instance_id,
                                     .compute_instance_id = event->compute_instance_id};
}

/* One look: SUCCESS with an event, TIMEOUT without. */
static int look(const char *function, void *set, struct nvml_event_data *data)
{
    struct call call;
    if (!call_begin(&call, function, READ, set))
        return call.result;
    struct event_set *found = find_set(set);
    if (found == NULL || data == NULL)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    const struct event *event = take_event(found, call.node);
    if (event != NULL)
        give_event(&call, event, data);
    return call_end(&call, event != NULL ? NVML_SUCCESS : NVML_ERROR_TIMEOUT);
}

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Sleeps until the node's event signal changes from what it was before the look. It also ends by itself after a
 * moment: the node may be gone, and a killed process may have changed it without a signal. */
static void wait_for_signal(uint32_t seen, uint64_t rest_ms)
{
    int result;
    struct store *store = session_enter(&result);
    if (store == NULL)
        return;
    void *word = &store->file->header.event_signal;
    session_leave(store);
    uint64_t nap_ms = rest_ms < LOOK_AGAIN_MS ? rest_ms : LOOK_AGAIN_MS;
    struct timespec nap = {0, (long)nap_ms * 1000000};
    syscall(SYS_futex, word, FUTEX_WAIT, seen, &nap, NULL, 0);
}

static bool read_signal(uint32_t *seen)
{
    int result;
    struct store *store = session_enter(&result);
    if (store == NULL)
        return false;
    *seen = atomic_load(&store->file->header.event_signal);
    session_leave(store);
    return true;
}

static int wait_for_event(const char *function, void *set, struct nvml_event_data *data, unsigned timeout_ms)
{
    uint64_t deadline = monotonic_ms() + timeout_ms;
    for (;;) {
        uint32_t seen = 0;
        read_signal(&seen);
        int result = look(function, set, data);
        uint64_t now = monotonic_ms();
        if (result != NVML_ERROR_TIMEOUT || now >= deadline)
            return result;
        wait_for_signal(seen, deadline - now);
    }
}

EXPORT int nvmlEventSetWait(void *set, struct nvml_event_data *data, unsigned timeout_ms)
{
    return wait_for_event(__func__, set, data, timeout_ms);
}

EXPORT int nvmlEventSetWait_v2(void *set, struct nvml_event_data *data, unsigned timeout_ms)
{
    return wait_for_event(__func__, set, data, timeout_ms);
}
