/* SPDX-License-Identifier: Apache-2.0 */
#include "node/memory.h"

#include "node/process.h"

struct memory_use memory_use(const struct node *node, const struct gpu *gpu, const struct gpu_instance *instance)
{
    struct process_scope scope = {.gpu = gpu_index(node, gpu), .gpu_instance = instance != NULL ? instance->serial : 0};
    uint64_t mib =
        instance != NULL ? profile_memory_mib(gpu, gpu_instance_profile(gpu, instance)) : gpu_variant(gpu)->memory_mib;
    return (struct memory_use){.known = mib != 0, .total = mib * MIB, .used = process_used_bytes(node, &scope)};
}
