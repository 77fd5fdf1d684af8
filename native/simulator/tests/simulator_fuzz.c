/* SPDX-License-Identifier: Apache-2.0 */
/* simulator_fuzz SEED ROUNDS: random calls with good, stale and garbage arguments against a private node. Built with
 * -DHAMI_SANITIZE=address,undefined it proves that no argument makes the library touch memory that is not its own. */
#include "control/control.h"
#include "nvml_abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByIndex_v2(unsigned, void **);
int nvmlDeviceGetHandleByUUID(const char *, void **);
int nvmlDeviceGetHandleByPciBusId_v2(const char *, void **);
int nvmlDeviceSetMigMode(void *, unsigned, int *);
int nvmlDeviceCreateGpuInstance(void *, unsigned, void **);
int nvmlDeviceCreateGpuInstanceWithPlacement(void *, unsigned, const struct nvml_placement *, void **);
int nvmlGpuInstanceDestroy(void *);
int nvmlGpuInstanceCreateComputeInstance(void *, unsigned, void **);
int nvmlComputeInstanceDestroy(void *);
int nvmlDeviceGetMigDeviceHandleByIndex(void *, unsigned, void **);
int nvmlDeviceGetName(void *, char *, unsigned);
int nvmlDeviceGetUUID(void *, char *, unsigned);
int nvmlDeviceGetMemoryInfo_v2(void *, struct nvml_memory_v2 *);
int nvmlDeviceGetAttributes_v2(void *, struct nvml_attributes *);
int nvmlDeviceGetGpuInstanceProfileInfoV(void *, unsigned, void *);
int nvmlGpuInstanceGetComputeInstanceProfileInfoV(void *, unsigned, unsigned, void *);
int nvmlDeviceGetGpuInstancePossiblePlacements_v2(void *, unsigned, struct nvml_placement *, unsigned *);
int nvmlGpuInstanceGetComputeInstancePossiblePlacements(void *, unsigned, struct nvml_placement *, unsigned *);
int nvmlDeviceGetGpuInstances(void *, unsigned, void **, unsigned *);
int nvmlComputeInstanceGetInfo_v2(void *, struct nvml_compute_info *);

enum { HANDLES = 64, ACTIONS = 17 };

static void *handles[HANDLES];
static char memory[64];

static unsigned pick(unsigned limit)
{
    return (unsigned)rand() % limit;
}

/* Mostly small numbers, sometimes anything. */
static unsigned number(void)
{
    return pick(10) != 0 ? pick(70) : (unsigned)rand() * 2654435761u;
}

/* Mostly what some call gave, dead or alive; sometimes near it, NULL or foreign memory. */
static void *handle(void)
{
    void *any = handles[pick(HANDLES)];
    switch (pick(12)) {
    case 0:
        return NULL;
    case 1:
        return (char *)any + pick(128);
    case 2:
        return memory;
    case 3:
        return (void *)(uintptr_t)number();
    default:
        return any;
    }
}

static void create(void)
{
    struct nvml_placement placement = {pick(14), pick(13)};
    void **target = &handles[pick(HANDLES)];
    if (pick(2) != 0)
        nvmlDeviceCreateGpuInstance(handle(), number(), target);
    else
        nvmlDeviceCreateGpuInstanceWithPlacement(handle(), number(), pick(9) ? &placement : NULL, target);
}

static void ask_names(void)
{
    char text[96];
    nvmlDeviceGetName(handle(), pick(9) ? text : NULL, pick(sizeof text + 1));
    nvmlDeviceGetUUID(handle(), text, pick(sizeof text + 1));
    for (unsigned index = 0; index < sizeof text - 1; index++)
        text[index] = (char)(pick(95) + 32);
    text[sizeof text - 1] = '\0';
    nvmlDeviceGetHandleByUUID(text, &handles[pick(HANDLES)]);
    nvmlDeviceGetHandleByPciBusId_v2(text, &handles[pick(HANDLES)]);
}

static void ask_profiles(void)
{
    unsigned char info[256];
    unsigned version = (pick(4) << 24) | (pick(2) ? 0x98u : 0x88u), count;
    struct nvml_placement placements[16];
    memcpy(info, &version, sizeof version);
    nvmlDeviceGetGpuInstanceProfileInfoV(handle(), number(), info);
    memcpy(info, &version, sizeof version);
    nvmlGpuInstanceGetComputeInstanceProfileInfoV(handle(), number(), pick(2), info);
    nvmlDeviceGetGpuInstancePossiblePlacements_v2(handle(), number(), placements, &count);
    nvmlGpuInstanceGetComputeInstancePossiblePlacements(handle(), number(), placements, &count);
}

static void ask_instances(void)
{
    struct nvml_memory_v2 room = {.version = STRUCT_VERSION(struct nvml_memory_v2, 2)};
    struct nvml_attributes attributes;
    struct nvml_compute_info info;
    void *list[16];
    unsigned count;
    nvmlDeviceGetMemoryInfo_v2(handle(), &room);
    nvmlDeviceGetAttributes_v2(handle(), &attributes);
    nvmlComputeInstanceGetInfo_v2(handle(), &info);
    nvmlDeviceGetGpuInstances(handle(), number(), list, &count);
}

static void control(void)
{
    static const char *const words[] = {"lost",
                                        "0",
                                        "1",
                                        "gi_ids",
                                        "swapped",
                                        "uuids",
                                        "fresh",
                                        "driver",
                                        "absent",
                                        "root",
                                        "name_drift_gb",
                                        "-3",
                                        "memory_drift_mib",
                                        "",
                                        "nvmlX#1=kill-afte"};
    const unsigned count = sizeof words / sizeof words[0];
    char message[64];
    hami_sim_set(NULL, pick(2) ? NULL : words[pick(count)], words[pick(count)], words[pick(3)], message, pick(65));
    hami_sim_fault_add(NULL, words[pick(count)], message, sizeof message);
    hami_sim_spec_check(words[pick(count)], message, pick(65));
    hami_sim_process_list(NULL, message, pick(65));
    if (pick(3) == 0)
        hami_sim_set(NULL, NULL, "lost", "0", NULL, 0);
}

static void get_handles(void)
{
    int activation;
    nvmlDeviceGetHandleByIndex_v2(pick(5), &handles[pick(HANDLES)]);
    nvmlDeviceGetMigDeviceHandleByIndex(handle(), pick(9), &handles[pick(HANDLES)]);
    if (pick(3) == 0)
        nvmlDeviceSetMigMode(handle(), pick(3), &activation);
}

static void act(void)
{
    void **target = &handles[pick(HANDLES)];
    switch (pick(ACTIONS)) {
    case 0:
    case 1:
        get_handles();
        break;
    case 2:
        nvmlGpuInstanceDestroy(handle());
        break;
    case 3:
    case 4:
        nvmlComputeInstanceDestroy(handle());
        break;
    case 5:
    case 6:
    case 7:
        nvmlGpuInstanceCreateComputeInstance(handle(), number() % 10, target);
        break;
    case 8:
    case 9:
        ask_names();
        break;
    case 10:
        ask_profiles();
        break;
    case 11:
        ask_instances();
        break;
    case 12:
        control();
        break;
    default:
        create();
    }
}

int main(int count, char **arguments)
{
    unsigned long rounds = count > 2 ? strtoul(arguments[2], NULL, 10) : 100000;
    srand(count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 1);
    setenv("HAMI_SIM_NODE", "1xA100-SXM4-40GB,1xA30,1xRTX-PRO-6000,1xB200", 1);
    for (unsigned long round = 0; round < rounds; round++) {
        if (round % 5000 == 0) {
            nvmlShutdown();
            if (nvmlInit_v2() != NVML_SUCCESS)
                return EXIT_FAILURE;
        }
        act();
    }
    printf("%lu rounds\n", rounds);
    return nvmlShutdown();
}
