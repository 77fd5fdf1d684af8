/* SPDX-License-Identifier: Apache-2.0 */
/* Control interface: processes on GPUs and MIG devices. */
#include "control/access.h"
#include "control/control.h"
#include "node/memory.h"
#include "node/place.h"
#include "node/process.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct request {
    const char *uuid;
    unsigned pid;
    unsigned long long memory_mib;
    const char *name;
    bool is_holder;
};

static int check_request(struct node *node, const struct request *request, struct place *place, char *message,
                         size_t size)
{
    *place = place_find(node, request->uuid);
    if (place->gpu == NULL)
        return explain(message, size, NVML_ERROR_NOT_FOUND, "no GPU or MIG device '%s' on this node", request->uuid);
    if (place->gpu->lost)
        return explain(message, size, NVML_ERROR_GPU_IS_LOST, "GPU %u is lost", gpu_index(node, place->gpu));
    if (place->instance == NULL && place->gpu->mig_current && request->memory_mib != 0)
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "GPU %u is in MIG mode: name one of its MIG devices",
                       gpu_index(node, place->gpu));
    if (node->process_count == MAX_PROCESSES)
        return explain(message, size, NVML_ERROR_INSUFFICIENT_RESOURCES, "the node has %d processes already",
                       MAX_PROCESSES);
    struct gpu_instance *parent = place->instance ? gpu_instance_of(place->gpu, place->instance) : NULL;
    struct memory_use use = memory_use(node, place->gpu, parent);
    uint64_t free_mib = use.total > use.used ? (use.total - use.used) / MIB : 0;
    if (use.known && request->memory_mib > free_mib)
        return explain(message, size, NVML_ERROR_MEMORY, "%llu MiB wanted, %llu MiB free on %s", request->memory_mib,
                       (unsigned long long)free_mib, request->uuid);
    return NVML_SUCCESS;
}

/* Its memory is counted beside that of CUDA's own clients, which ask without this lock. */
static int claim(struct access_scope *scope, struct process *process, const struct request *request, char *message,
                 size_t size)
{
    struct usage *usage = &scope->store->file->usage;
    struct gpu *gpu = &scope->node->gpus[process->gpu];
    struct gpu_instance *instance = gpu_instance_by_serial(gpu, process->gpu_instance);
    struct memory_use use = memory_use(scope->node, gpu, instance);
    struct usage_place where = {process->gpu, process->gpu_instance, use.known ? use.total : UINT64_MAX};
    usage_settle(usage, scope->node);
    struct usage_slot *slot = usage_claim(usage, request->pid, &where);
    if (slot == NULL)
        return explain(message, size, NVML_ERROR_INSUFFICIENT_RESOURCES, "the node counts %d processes already",
                       MAX_PROCESSES);
    process->slot = (uint32_t)(slot - usage->slots);
    if (usage_charge_locked(usage, slot, process->memory_bytes, &where))
        return NVML_SUCCESS;
    usage_release(slot);
    return explain(message, size, NVML_ERROR_MEMORY, "%llu MiB do not fit on %s", request->memory_mib, request->uuid);
}

static int add(struct access_scope *scope, const struct request *request, char *message, size_t size)
{
    struct node *node = scope->node;
    struct place place;
    uint64_t start_time = process_start_time(request->pid);
    if (start_time == 0)
        return explain(message, size, NVML_ERROR_NOT_FOUND, "no live process %u", request->pid);
    process_purge(node);
    int result = check_request(node, request, &place, message, size);
    if (result != NVML_SUCCESS)
        return result;
    struct process process = {.start_time = start_time,
                              .memory_bytes = request->memory_mib * MIB,
                              .pid = request->pid,
                              .gpu = gpu_index(node, place.gpu),
                              .kind = PROCESS_COMPUTE,
                              .is_holder = request->is_holder};
    if (place.instance != NULL) {
        process.compute_instance = place.instance->serial;
        process.gpu_instance = gpu_instance_of(place.gpu, place.instance)->serial;
    }
    if (request->name != NULL)
        process_copy_name(process.name, request->name);
    else
        process_name(request->pid, process.name);
    result = claim(scope, &process, request, message, size);
    if (result == NVML_SUCCESS)
        node->processes[node->process_count++] = process;
    return result;
}

static int add_to(const char *state, const struct request *request, char *message, size_t size)
{
    struct access_scope scope;
    if (request->uuid == NULL || request->memory_mib > UINT64_MAX / MIB)
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "no UUID, or more memory than there is");
    int result = access_begin(&scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    return access_end(&scope, add(&scope, request, message, size));
}

EXPORT int hami_sim_process_add(const char *state, const char *uuid, unsigned pid, unsigned long long memory_mib,
                                const char *name, char *message, size_t size)
{
    return add_to(state, &(struct request){uuid, pid, memory_mib, name, false}, message, size);
}

EXPORT int hami_sim_holder_add(const char *state, const char *uuid, unsigned pid, unsigned long long memory_mib,
                               const char *name, char *message, size_t size)
{
    return add_to(state, &(struct request){uuid, pid, memory_mib, name, true}, message, size);
}

EXPORT int hami_sim_process_remove(const char *state, unsigned pid, char *message, size_t size)
{
    struct access_scope scope;
    int result = access_begin(&scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    unsigned kept = 0, before = scope.node->process_count;
    for (unsigned row = 0; row < before; row++)
        if (scope.node->processes[row].pid != pid)
            scope.node->processes[kept++] = scope.node->processes[row];
    scope.node->process_count = kept;
    if (kept == before)
        return access_end(&scope, explain(message, size, NVML_ERROR_NOT_FOUND, "no process %u on this node", pid));
    return access_end(&scope, NVML_SUCCESS);
}

EXPORT int hami_sim_process_find(const char *state, unsigned pid)
{
    struct access_scope scope;
    int result = access_begin(&scope, state, READ, NULL, 0);
    if (result != NVML_SUCCESS)
        return result;
    result = NVML_ERROR_NOT_FOUND;
    for (unsigned row = 0; row < scope.node->process_count; row++)
        if (scope.node->processes[row].pid == pid && process_is_alive(&scope.node->processes[row]))
            result = NVML_SUCCESS;
    return access_end(&scope, result);
}

static void uuid_of_process(struct node *node, const struct process *process, char uuid[UUID_SIZE])
{
    struct gpu *gpu = &node->gpus[process->gpu];
    gpu_uuid(gpu, uuid);
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++)
        if (process->compute_instance != 0 && gpu->compute_instances[slot].serial == process->compute_instance)
            mig_uuid(gpu, &gpu->compute_instances[slot], uuid);
}

struct text {
    char *buffer;
    size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void append(struct text *text, const char *format, ...)
{
    bool room = text->buffer != NULL && text->used < text->size;
    va_list arguments;
    va_start(arguments, format);
    text->used += (size_t)vsnprintf(room ? text->buffer + text->used : NULL, room ? text->size - text->used : 0, format,
                                    arguments);
    va_end(arguments);
}

typedef void (*writer)(struct text *text, const struct access_scope *scope, const struct process *process,
                       const char *uuid);

static void write_process(struct text *text, const struct access_scope *scope, const struct process *process,
                          const char *uuid)
{
    (void)scope;
    append(text, "%u\t%u\t%s\t%llu\t%u\t%s\n", process->pid, process->gpu, uuid,
           (unsigned long long)(process->memory_bytes / MIB), process->is_holder, process->name);
}

static void write_usage(struct text *text, const struct access_scope *scope, const struct process *process,
                        const char *uuid)
{
    struct usage_slot *slot = &scope->store->file->usage.slots[process->slot];
    append(text, "%u\t%u\t%s\t%llu\t%llu\t%llu\n", process->pid, process->gpu, uuid,
           (unsigned long long)process->memory_bytes, (unsigned long long)atomic_load(&slot->busy_ns),
           (unsigned long long)atomic_load(&slot->launches));
}

static int write_list(const char *state, char *buffer, size_t size, writer write)
{
    struct access_scope scope;
    struct text text = {buffer, size, 0};
    int result = access_begin(&scope, state, READ, NULL, 0);
    if (result != NVML_SUCCESS)
        return -result;
    if (buffer != NULL && size != 0)
        buffer[0] = '\0';
    for (unsigned row = 0; row < scope.node->process_count; row++) {
        const struct process *process = &scope.node->processes[row];
        char uuid[UUID_SIZE];
        if (!process_is_alive(process))
            continue;
        uuid_of_process(scope.node, process, uuid);
        write(&text, &scope, process, uuid);
    }
    access_end(&scope, NVML_SUCCESS);
    return (int)text.used + 1;
}

EXPORT int hami_sim_process_list(const char *state, char *buffer, size_t size)
{
    return write_list(state, buffer, size, write_process);
}

EXPORT int hami_sim_usage(const char *state, char *buffer, size_t size)
{
    return write_list(state, buffer, size, write_usage);
}
