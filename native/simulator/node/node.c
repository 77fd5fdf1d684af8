/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node.h"

#include "node/uuid.h"

#include <stdio.h>
#include <string.h>

void node_make(struct node *node, const struct spec *spec)
{
    memset(node, 0, sizeof *node);
    node->gpu_count = spec->count;
    node->next_serial = 1;
    node->next_event = 1;
    for (unsigned index = 0; index < spec->count; index++) {
        struct gpu *gpu = &node->gpus[index];
        gpu->board = spec->gpus[index].board;
        gpu->variant = spec->gpus[index].variant;
        gpu->ordinal = index;
        gpu->activation = -1;
        gpu->persistence = 1;
    }
}

static bool instances_are_sound(const struct gpu *gpu)
{
    for (unsigned slot = 0; slot < MAX_GPU_INSTANCES; slot++) {
        const struct gpu_instance *instance = &gpu->gpu_instances[slot];
        if (instance->serial == 0)
            continue;
        if (instance->profile >= gpu_board(gpu)->profile_count)
            return false;
        if (!rules_start_exists(gpu_instance_profile(gpu, instance), instance->start))
            return false;
    }
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        const struct compute_instance *instance = &gpu->compute_instances[slot];
        if (instance->serial == 0)
            continue;
        if (instance->gpu_instance >= MAX_GPU_INSTANCES || instance->slices == 0 || instance->slices > 16 ||
            instance->start > 16 || gpu->gpu_instances[instance->gpu_instance].serial == 0)
            return false;
    }
    return true;
}

static bool gpu_is_sound(const struct gpu *gpu)
{
    return gpu->board < board_count && gpu->variant < board_table[gpu->board].variant_count && instances_are_sound(gpu);
}

bool node_is_sound(const struct node *node)
{
    if (node->gpu_count == 0 || node->gpu_count > MAX_GPUS || node->process_count > MAX_PROCESSES ||
        node->fault_count > MAX_FAULTS || node->next_serial == 0)
        return false;
    for (unsigned index = 0; index < node->gpu_count; index++)
        if (!gpu_is_sound(&node->gpus[index]))
            return false;
    for (unsigned index = 0; index < node->process_count; index++)
        if (node->processes[index].gpu >= node->gpu_count || node->processes[index].slot >= MAX_PROCESSES)
            return false;
    return true;
}

void node_copy(struct node *target, const struct node *source)
{
    memcpy(target, source, offsetof(struct node, gpus) + source->gpu_count * sizeof source->gpus[0]);
    memcpy(target->processes, source->processes, source->process_count * sizeof source->processes[0]);
}

uint32_t node_cuda_version(const struct node *node)
{
    return node->behaviour.cuda_version != 0 ? node->behaviour.cuda_version : NEWEST_CUDA_VERSION;
}

uint64_t node_take_serial(struct node *node)
{
    return node->next_serial++;
}

const struct board *gpu_board(const struct gpu *gpu)
{
    return &board_table[gpu->board];
}

const struct variant *gpu_variant(const struct gpu *gpu)
{
    return &gpu_board(gpu)->variants[gpu->variant];
}

const struct profile *gpu_instance_profile(const struct gpu *gpu, const struct gpu_instance *instance)
{
    return &gpu_board(gpu)->profiles[instance->profile];
}

struct layout gpu_layout(const struct gpu *gpu)
{
    struct layout layout = layout_empty(gpu_board(gpu));
    for (unsigned slot = 0; slot < MAX_GPU_INSTANCES; slot++)
        if (gpu->gpu_instances[slot].serial != 0)
            layout_add(&layout, gpu_instance_profile(gpu, &gpu->gpu_instances[slot]), gpu->gpu_instances[slot].start);
    return layout;
}

static bool is_child(const struct gpu *gpu, const struct compute_instance *child, const struct gpu_instance *instance)
{
    return child->serial != 0 && &gpu->gpu_instances[child->gpu_instance] == instance;
}

struct compute_layout gpu_compute_layout(const struct gpu *gpu, const struct gpu_instance *instance)
{
    struct compute_layout layout = {0};
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        const struct compute_instance *child = &gpu->compute_instances[slot];
        if (is_child(gpu, child, instance))
            compute_layout_add(&layout, gpu_instance_profile(gpu, instance), child->profile_id, child->start);
    }
    return layout;
}

struct gpu_instance *gpu_instance_of(struct gpu *gpu, const struct compute_instance *instance)
{
    return &gpu->gpu_instances[instance->gpu_instance];
}

struct gpu_instance *gpu_instance_by_serial(struct gpu *gpu, uint64_t serial)
{
    for (unsigned slot = 0; slot < MAX_GPU_INSTANCES; slot++)
        if (serial != 0 && gpu->gpu_instances[slot].serial == serial)
            return &gpu->gpu_instances[slot];
    return NULL;
}

bool gpu_has_instances(const struct gpu *gpu)
{
    for (unsigned slot = 0; slot < MAX_GPU_INSTANCES; slot++)
        if (gpu->gpu_instances[slot].serial != 0)
            return true;
    return false;
}

unsigned gpu_instance_children(const struct gpu *gpu, const struct gpu_instance *instance)
{
    unsigned count = 0;
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++)
        count += is_child(gpu, &gpu->compute_instances[slot], instance);
    return count;
}

unsigned gpu_index(const struct node *node, const struct gpu *gpu)
{
    return (unsigned)(gpu - node->gpus);
}

uint64_t profile_memory_mib(const struct gpu *gpu, const struct profile *profile)
{
    return (uint64_t)((int64_t)profile->memory_mib + gpu->memory_drift_mib);
}

/* `1g.24gb+me` with a drift of -1 is `1g.23gb+me`: NVIDIA computes names from memory, and they did change. */
void profile_name(const struct gpu *gpu, const struct profile *profile, char name[NAME_SIZE])
{
    int slices, size_gb, used = 0;
    if (gpu->name_drift_gb != 0 && sscanf(profile->name, "%dg.%dgb%n", &slices, &size_gb, &used) == 2 && used != 0)
        snprintf(name, NAME_SIZE, "%dg.%dgb%s", slices, size_gb + gpu->name_drift_gb, profile->name + used);
    else
        snprintf(name, NAME_SIZE, "%s", profile->name);
}

void gpu_uuid(const struct gpu *gpu, char uuid[UUID_SIZE])
{
    char name[128], text[UUID_TEXT_SIZE];
    snprintf(name, sizeof name, "hami-sim gpu %s %u %u", gpu_board(gpu)->key, gpu->variant, gpu->ordinal);
    uuid_from_name(name, text);
    snprintf(uuid, UUID_SIZE, "GPU-%s", text);
}

/* One real log shows the same UUID after re-creation, other sources say that it changes: the default repeats,
 * the knob `fresh_uuids` mixes the serial in. */
void mig_uuid(const struct gpu *gpu, const struct compute_instance *instance, char uuid[UUID_SIZE])
{
    char parent[UUID_SIZE], name[192], text[UUID_TEXT_SIZE];
    gpu_uuid(gpu, parent);
    uint32_t id = gpu->gpu_instances[instance->gpu_instance].id;
    unsigned long long fresh = gpu->fresh_uuids ? (unsigned long long)instance->serial : 0;
    snprintf(name, sizeof name, "%s %u %u %llu", parent, id, instance->id, fresh);
    uuid_from_name(name, text);
    snprintf(uuid, UUID_SIZE, "MIG-%s", text);
}

bool gpu_name(const struct gpu *gpu, char *name, size_t size)
{
    const char *known = gpu_variant(gpu)->name;
    if (known != NULL)
        snprintf(name, size, "%s", known);
    return known != NULL;
}

bool mig_name(const struct gpu *gpu, const struct compute_instance *instance, char *name, size_t size)
{
    const struct profile *profile = gpu_instance_profile(gpu, &gpu->gpu_instances[instance->gpu_instance]);
    const char *known = gpu_variant(gpu)->name;
    char own[NAME_SIZE];
    if (known == NULL)
        return false;
    profile_name(gpu, profile, own);
    if (instance->slices == profile->slices)
        snprintf(name, size, "%s MIG %s", known, own);
    else
        snprintf(name, size, "%s MIG %uc.%s", known, instance->slices, own);
    return true;
}

void gpu_clear_instances(struct node *node, struct gpu *gpu)
{
    unsigned index = gpu_index(node, gpu), kept = 0;
    memset(gpu->gpu_instances, 0, sizeof gpu->gpu_instances);
    memset(gpu->compute_instances, 0, sizeof gpu->compute_instances);
    for (unsigned row = 0; row < node->process_count; row++)
        if (node->processes[row].gpu != index)
            node->processes[kept++] = node->processes[row];
    node->process_count = kept;
}
