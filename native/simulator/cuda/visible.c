/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices a process sees, by the rules of NVIDIA's programming and MIG guides: CUDA_VISIBLE_DEVICES is a list of
 * indices, GPU UUIDs, MIG UUIDs (also MIG-GPU-UUID/GI/CI), each UUID as short as is unique; the first entry that means
 * nothing ends the list; one that stands there twice leaves nothing. A process sees one MIG device at most, and no
 * whole GPU beside it. A GPU in MIG mode is its first MIG device, or nothing. */
#include "cuda/visible.h"

#include "cuda/device.h"
#include "cuda/devices.h"
#include "node/node.h"
#include "node/place.h"
#include "node/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct compute_instance *first_instance(struct gpu *gpu)
{
    struct compute_instance *first = NULL;
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        struct compute_instance *instance = &gpu->compute_instances[slot];
        if (instance->serial != 0 && (first == NULL || instance->mig_index < first->mig_index))
            first = instance;
    }
    return first;
}

static bool is_usable(const struct place *place)
{
    return place->gpu != NULL && !place->gpu->lost && (place->instance != NULL) == (place->gpu->mig_current != 0);
}

static struct place whole(struct gpu *gpu)
{
    return (struct place){gpu, gpu->mig_current ? first_instance(gpu) : NULL};
}

/* The one candidate whose name starts with the text; a GPU of NULL if none or several do. */
struct match {
    const char *text;
    unsigned found;
    struct place place;
};

static void consider(struct match *match, const char *name, struct place place)
{
    if (strncasecmp(name, match->text, strlen(match->text)) != 0)
        return;
    match->found++;
    match->place = place;
}

static void consider_instances(struct match *match, struct gpu *gpu)
{
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        struct compute_instance *instance = &gpu->compute_instances[slot];
        char name[UUID_SIZE], old[UUID_SIZE + 32], parent[UUID_SIZE];
        if (instance->serial == 0)
            continue;
        mig_uuid(gpu, instance, name);
        gpu_uuid(gpu, parent);
        snprintf(old, sizeof old, "MIG-%s/%u/%u", parent, gpu_instance_of(gpu, instance)->id, instance->id);
        if (strncasecmp(match->text, "MIG-GPU-", 8) == 0 && strcasecmp(match->text, old) != 0)
            continue;
        consider(match, strncasecmp(match->text, "MIG-GPU-", 8) == 0 ? old : name, (struct place){gpu, instance});
    }
}

static struct place find_by_uuid(struct node *node, const char *text)
{
    struct match match = {.text = text};
    for (unsigned index = 0; index < node->gpu_count; index++) {
        struct gpu *gpu = &node->gpus[index];
        char name[UUID_SIZE];
        gpu_uuid(gpu, name);
        consider(&match, name, whole(gpu));
        consider_instances(&match, gpu);
    }
    return match.found == 1 ? match.place : (struct place){NULL, NULL};
}

static struct place find_entry(struct node *node, const char *text)
{
    char *end;
    if (strncasecmp(text, "GPU-", 4) == 0 || strncasecmp(text, "MIG-", 4) == 0)
        return find_by_uuid(node, text);
    unsigned long index = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || index >= node->gpu_count)
        return (struct place){NULL, NULL};
    return whole(&node->gpus[index]);
}

struct list {
    struct place places[MAX_GPUS];
    unsigned count;
};

static bool holds(const struct list *list, const struct place *place)
{
    for (unsigned index = 0; index < list->count; index++)
        if (list->places[index].gpu == place->gpu && list->places[index].instance == place->instance)
            return true;
    return false;
}

static void list_all(struct node *node, struct list *list)
{
    for (unsigned index = 0; index < node->gpu_count; index++) {
        struct place place = whole(&node->gpus[index]);
        if (is_usable(&place))
            list->places[list->count++] = place;
    }
}

static void list_named(struct node *node, const char *text, struct list *list)
{
    char entry[256];
    while (true) {
        text += strspn(text, " \t");
        size_t length = strcspn(text, ",");
        if (length == 0 || length >= sizeof entry)
            return;
        memcpy(entry, text, length);
        while (length != 0 && (entry[length - 1] == ' ' || entry[length - 1] == '\t'))
            length--;
        entry[length] = '\0';
        struct place place = find_entry(node, entry);
        if (!is_usable(&place) || list->count == MAX_GPUS)
            return;
        if (holds(list, &place)) {
            list->count = 0;
            return;
        }
        list->places[list->count++] = place;
        text += strcspn(text, ",");
        if (*text++ == '\0')
            return;
    }
}

/* One MIG device, the first, if there is any. */
static void narrow(struct list *list)
{
    for (unsigned index = 0; index < list->count; index++)
        if (list->places[index].instance != NULL) {
            list->places[0] = list->places[index];
            list->count = 1;
        }
}

void visible_devices(struct node *node)
{
    struct list list = {.count = 0};
    const char *text = getenv("CUDA_VISIBLE_DEVICES");
    if (text == NULL)
        list_all(node, &list);
    else
        list_named(node, text, &list);
    narrow(&list);
    driver.device_count = list.count;
    for (unsigned index = 0; index < list.count; index++) {
        driver.devices[index] = (struct device){.index = index};
        device_describe(&driver.devices[index], node, list.places[index].gpu, list.places[index].instance);
    }
}
