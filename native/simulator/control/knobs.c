/* SPDX-License-Identifier: Apache-2.0 */
/* Control interface: how a node and its GPUs behave. */
#include "control/access.h"
#include "control/control.h"
#include "node/capabilities.h"
#include "node/event.h"
#include "node/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { XID_OFF_THE_BUS = 79 };

static bool parse_integer(const char *value, long long *number)
{
    char *end;
    *number = strtoll(value, &end, 10);
    return value[0] != '\0' && *end == '\0' && *number > -1000000000000 && *number < 1000000000000;
}

static bool parse_choice(const char *value, const char *off, const char *on, uint8_t *target)
{
    bool is_on = strcmp(value, on) == 0;
    if (!is_on && strcmp(value, off) != 0)
        return false;
    *target = is_on;
    return true;
}

static bool copy_text(char *target, size_t size, const char *value)
{
    size_t length = strlen(value);
    if (length >= size)
        return false;
    memcpy(target, value, length + 1);
    return true;
}

static bool set_driver(struct behaviour *behaviour, const char *value)
{
    long long delay_ms;
    struct timespec now;
    behaviour->appears_at_ms = 0;
    if (parse_choice(value, "present", "absent", &behaviour->driver_absent))
        return true;
    if (strncmp(value, "later:", 6) != 0 || !parse_integer(value + 6, &delay_ms) || delay_ms < 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    behaviour->driver_absent = 0;
    behaviour->appears_at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + (uint64_t)delay_ms;
    return true;
}

static bool set_number(uint32_t *target, const char *value, long long most)
{
    long long number;
    if (!parse_integer(value, &number) || number < 0 || number > most)
        return false;
    *target = (uint32_t)number;
    return true;
}

/* As cuda.h writes versions: 12020 is 12.2. */
static bool set_cuda_version(struct behaviour *behaviour, const char *value)
{
    uint32_t version;
    bool good = set_number(&version, value, NEWEST_CUDA_VERSION) && (version == 0 || version >= 11000);
    if (good)
        behaviour->cuda_version = version;
    return good;
}

/* 1 = done, 0 = bad value, -1 = no such knob. */
static int set_node(struct node *node, const char *knob, const char *value)
{
    struct behaviour *behaviour = &node->behaviour;
    if (strcmp(knob, "driver") == 0)
        return set_driver(behaviour, value);
    if (strcmp(knob, "driver_version") == 0)
        return copy_text(behaviour->driver_version, sizeof behaviour->driver_version, value);
    if (strcmp(knob, "cuda_version") == 0)
        return set_cuda_version(behaviour, value);
    if (strcmp(knob, "root_only") == 0)
        return parse_choice(value, "0", "1", &behaviour->root_only);
    if (strcmp(knob, "device_nodes") == 0)
        return parse_choice(value, "0", "1", &behaviour->make_device_nodes);
    if (strcmp(knob, "root") == 0)
        return (value[0] == '\0' || value[0] == '/') && copy_text(behaviour->root, sizeof behaviour->root, value);
    return -1;
}

static bool set_lost(struct node *node, struct gpu *gpu, const char *value)
{
    uint8_t before = gpu->lost;
    if (!parse_choice(value, "0", "1", &gpu->lost))
        return false;
    if (gpu->lost && !before)
        event_add(node, (struct event){.type = EVENT_XID,
                                       .data = XID_OFF_THE_BUS,
                                       .gpu = gpu_index(node, gpu),
                                       .gpu_instance_id = WHOLE_GPU,
                                       .compute_instance_id = WHOLE_GPU});
    return true;
}

static bool set_activation(struct gpu *gpu, const char *value)
{
    long long code = -1;
    if (strcmp(value, "none") != 0 && (!parse_integer(value, &code) || code < 0 || code > NVML_ERROR_UNKNOWN))
        return false;
    gpu->activation = (int32_t)code;
    return true;
}

static bool set_drift(int32_t *drift, const char *value)
{
    long long number;
    if (!parse_integer(value, &number) || number < -1000 || number > 1000)
        return false;
    *drift = (int32_t)number;
    return true;
}

static int set_gpu(struct node *node, struct gpu *gpu, const char *knob, const char *value)
{
    if (strcmp(knob, "lost") == 0)
        return set_lost(node, gpu, value);
    if (strcmp(knob, "reset_required") == 0)
        return parse_choice(value, "0", "1", &gpu->reset_required);
    if (strcmp(knob, "gi_ids") == 0)
        return parse_choice(value, "straight", "swapped", &gpu->swapped_ids);
    if (strcmp(knob, "uuids") == 0)
        return parse_choice(value, "repeat", "fresh", &gpu->fresh_uuids);
    if (strcmp(knob, "info_device") == 0)
        return parse_choice(value, "parent", "mig", &gpu->info_device_is_mig);
    if (strcmp(knob, "activation") == 0)
        return set_activation(gpu, value);
    if (strcmp(knob, "memory_drift_mib") == 0)
        return set_drift(&gpu->memory_drift_mib, value);
    if (strcmp(knob, "name_drift_gb") == 0)
        return set_drift(&gpu->name_drift_gb, value);
    if (strcmp(knob, "kernel_us") == 0)
        return set_number(&gpu->kernel_us, value, 3600000000LL);
    if (strcmp(knob, "context_mib") == 0)
        return set_number(&gpu->context_mib, value, 65536);
    return -1;
}

static int set_gpus(struct node *node, const struct gpu *only, const char *knob, const char *value)
{
    int outcome = -1;
    for (unsigned index = 0; index < node->gpu_count; index++)
        if (only == NULL || only == &node->gpus[index]) {
            outcome = set_gpu(node, &node->gpus[index], knob, value);
            if (outcome != 1)
                return outcome;
        }
    return outcome;
}

static int set_anything(struct node *node, const char *uuid, const char *knob, const char *value, char *message,
                        size_t size)
{
    struct place place = {NULL, NULL};
    if (uuid != NULL) {
        place = place_find(node, uuid);
        if (place.gpu == NULL)
            return explain(message, size, NVML_ERROR_NOT_FOUND, "no GPU '%s' on this node", uuid);
    }
    int outcome = uuid == NULL ? set_node(node, knob, value) : -1;
    if (outcome == -1)
        outcome = set_gpus(node, place.gpu, knob, value);
    if (outcome == -1)
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "no knob '%s'%s", knob,
                       uuid != NULL ? " of a GPU" : "");
    if (outcome == 0)
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "'%s' is not a value of '%s'", value, knob);
    return NVML_SUCCESS;
}

EXPORT int hami_sim_set(const char *state, const char *uuid, const char *knob, const char *value, char *message,
                        size_t size)
{
    struct access_scope scope;
    if (knob == NULL || value == NULL)
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "a knob and a value are needed");
    int result = access_begin(&scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    result = set_anything(scope.node, uuid, knob, value, message, size);
    if (result == NVML_SUCCESS && (strcmp(knob, "root") == 0 || strcmp(knob, "device_nodes") == 0))
        capabilities_write_all(scope.node);
    return access_end(&scope, result);
}
