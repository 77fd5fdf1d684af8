/* SPDX-License-Identifier: Apache-2.0 */
/* Control interface: what happens to a node: faults, Xids, ECC errors, resets, reboots. */
#include "control/access.h"
#include "control/control.h"
#include "node/capabilities.h"
#include "node/event.h"
#include "node/fault.h"
#include "node/place.h"
#include "node/process.h"

EXPORT int hami_sim_fault_add(const char *state, const char *rule, char *message, size_t size)
{
    struct access_scope scope;
    struct fault fault;
    char reason[512] = "";
    if (rule == NULL || !fault_parse(rule, &fault, reason, sizeof reason))
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "%s", reason);
    int result = access_begin(&scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    if (scope.node->fault_count == MAX_FAULTS)
        return access_end(&scope, explain(message, size, NVML_ERROR_INSUFFICIENT_RESOURCES,
                                          "the node has %d faults already", MAX_FAULTS));
    atomic_store(&scope.store->file->header.fault_calls[scope.node->fault_count], 0);
    scope.node->faults[scope.node->fault_count++] = fault;
    return access_end(&scope, NVML_SUCCESS);
}

EXPORT int hami_sim_faults_clear(const char *state, char *message, size_t size)
{
    struct access_scope scope;
    int result = access_begin(&scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    scope.node->fault_count = 0;
    return access_end(&scope, NVML_SUCCESS);
}

/* Opens a change about one device; the scope is closed if it is not there. */
static int begin_at(struct access_scope *scope, const char *state, const char *uuid, struct place *place, char *message,
                    size_t size)
{
    if (uuid == NULL)
        return explain(message, size, NVML_ERROR_INVALID_ARGUMENT, "no UUID given");
    int result = access_begin(scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    *place = place_find(scope->node, uuid);
    if (place->gpu == NULL)
        result = access_end(scope, explain(message, size, NVML_ERROR_NOT_FOUND, "no device '%s' on this node", uuid));
    return result;
}

static struct event event_at(const struct node *node, const struct place *place, uint64_t type, uint64_t data)
{
    const struct compute_instance *instance = place->instance;
    return (struct event){.type = type,
                          .data = data,
                          .gpu = gpu_index(node, place->gpu),
                          .gpu_instance_id = instance ? gpu_instance_of(place->gpu, instance)->id : WHOLE_GPU,
                          .compute_instance_id = instance ? instance->id : WHOLE_GPU};
}

EXPORT int hami_sim_xid(const char *state, const char *uuid, unsigned long long xid, char *message, size_t size)
{
    struct access_scope scope;
    struct place place = {NULL, NULL};
    int result = begin_at(&scope, state, uuid, &place, message, size);
    if (result != NVML_SUCCESS || place.gpu == NULL)
        return result;
    place.gpu->last_xid = xid;
    event_add(scope.node, event_at(scope.node, &place, EVENT_XID, xid));
    return access_end(&scope, NVML_SUCCESS);
}

EXPORT int hami_sim_ecc(const char *state, const char *uuid, int uncorrected, unsigned long long count, char *message,
                        size_t size)
{
    struct access_scope scope;
    struct place place = {NULL, NULL};
    int result = begin_at(&scope, state, uuid, &place, message, size);
    if (result != NVML_SUCCESS || place.gpu == NULL)
        return result;
    *(uncorrected ? &place.gpu->ecc_uncorrected : &place.gpu->ecc_corrected) += count;
    event_add(scope.node, event_at(scope.node, &place, uncorrected ? EVENT_DOUBLE_BIT_ECC : EVENT_SINGLE_BIT_ECC, 0));
    return access_end(&scope, NVML_SUCCESS);
}

/* On every architecture a reset takes the instances and makes a pending mode the current one. */
static void reset(struct node *node, struct gpu *gpu)
{
    gpu_clear_instances(node, gpu);
    gpu->mig_current = gpu->mig_pending;
    gpu->lost = gpu->reset_required = 0;
    gpu->resets++;
}

static int reset_if_idle(struct node *node, struct gpu *gpu, char *message, size_t size)
{
    struct process_scope everyone = {.gpu = gpu_index(node, gpu)};
    if (process_any_alive(node, &everyone))
        return explain(message, size, NVML_ERROR_IN_USE, "GPU %u has clients", everyone.gpu);
    reset(node, gpu);
    return NVML_SUCCESS;
}

EXPORT int hami_sim_gpu_reset(const char *state, const char *uuid, char *message, size_t size)
{
    struct access_scope scope;
    struct place place = {NULL, NULL};
    int result = access_begin(&scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    if (uuid != NULL)
        place = place_find(scope.node, uuid);
    if (uuid != NULL && place.gpu == NULL)
        return access_end(&scope, explain(message, size, NVML_ERROR_NOT_FOUND, "no GPU '%s' on this node", uuid));
    for (unsigned index = 0; index < scope.node->gpu_count && result == NVML_SUCCESS; index++)
        if (place.gpu == NULL || place.gpu == &scope.node->gpus[index])
            result = reset_if_idle(scope.node, &scope.node->gpus[index], message, size);
    if (result == NVML_SUCCESS)
        capabilities_write_all(scope.node);
    return access_end(&scope, result);
}

/* Ampere keeps the mode in its InfoROM, and a pending one becomes current; later ones forget it (reference 2.2). */
EXPORT int hami_sim_reboot(const char *state, char *message, size_t size)
{
    struct access_scope scope;
    int result = access_begin(&scope, state, WRITE, message, size);
    if (result != NVML_SUCCESS)
        return result;
    for (unsigned index = 0; index < scope.node->gpu_count; index++) {
        struct gpu *gpu = &scope.node->gpus[index];
        reset(scope.node, gpu);
        if (gpu_board(gpu)->architecture != ARCHITECTURE_AMPERE)
            gpu->mig_current = gpu->mig_pending = 0;
    }
    scope.node->process_count = 0;
    capabilities_write_all(scope.node);
    return access_end(&scope, NVML_SUCCESS);
}
