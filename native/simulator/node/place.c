/* SPDX-License-Identifier: Apache-2.0 */
#include "node/place.h"

#include "node/pci.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A GPU may also be named by its index, which works even while the GPU is lost and does not report its UUID. */
static int is_index(const char *text, unsigned index)
{
    char digits[sizeof "4294967295"];
    snprintf(digits, sizeof digits, "%u", index);
    return strcmp(text, digits) == 0;
}

/* An index, or where the GPU sits on the bus; an index beyond every node otherwise. */
static unsigned index_of(const char *text)
{
    unsigned index = NO_SLOT;
    int used = 0;
    if (sscanf(text, "%3u%n", &index, &used) == 1 && text[used] == '\0')
        return index;
    return pci_parse(text, &index) ? index : NO_SLOT;
}

struct place place_find(struct node *node, const char *uuid)
{
    unsigned named = index_of(uuid);
    if (named < node->gpu_count)
        return (struct place){&node->gpus[named], NULL};
    for (unsigned index = 0; index < node->gpu_count; index++) {
        struct gpu *gpu = &node->gpus[index];
        char text[UUID_SIZE];
        gpu_uuid(gpu, text);
        if (strcasecmp(uuid, text) == 0 || is_index(uuid, index))
            return (struct place){gpu, NULL};
        for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
            struct compute_instance *instance = &gpu->compute_instances[slot];
            if (instance->serial == 0)
                continue;
            mig_uuid(gpu, instance, text);
            if (strcasecmp(uuid, text) == 0)
                return (struct place){gpu, instance};
        }
    }
    return (struct place){NULL, NULL};
}
