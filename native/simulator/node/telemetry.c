/* SPDX-License-Identifier: Apache-2.0 */
#include "node/telemetry.h"

#include "node/memory.h"
#include "node/process.h"

enum { IDLE_CLOCK_MHZ = 210, IDLE_CELSIUS = 31, CELSIUS_OF_FULL_LOAD = 35, PERCENT_A_PROCESS = 25 };

/* Power limit, boost clock, memory clock, BAR1, PCIe generation, memory bus; NVIDIA's product briefs. */
static const struct datasheet datasheets[] = {
    {0x20B010DE, 400, 1410, 1215, 65536, 4, 5120},   {0x20F110DE, 250, 1410, 1215, 65536, 4, 5120},
    {0x20B210DE, 400, 1410, 1593, 131072, 4, 5120},  {0x20B510DE, 300, 1410, 1512, 131072, 4, 5120},
    {0x20F310DE, 400, 1410, 1593, 131072, 4, 5120},  {0x20F510DE, 300, 1410, 1512, 131072, 4, 5120},
    {0x20F610DE, 240, 1410, 1215, 65536, 4, 5120},   {0x20B710DE, 165, 1440, 1215, 32768, 4, 3072},
    {0x233010DE, 700, 1980, 2619, 131072, 5, 5120},  {0x233110DE, 350, 1755, 1593, 131072, 5, 5120},
    {0x232110DE, 400, 1785, 2619, 131072, 5, 6016},  {0x234210DE, 900, 1980, 2619, 131072, 5, 6144},
    {0x232910DE, 500, 1980, 2619, 131072, 5, 6144},  {0x233510DE, 700, 1980, 3201, 262144, 5, 6144},
    {0x233B10DE, 600, 1785, 3201, 262144, 5, 6016},  {0x290110DE, 1000, 1965, 3996, 262144, 5, 8192},
    {0x294110DE, 1200, 2062, 3996, 262144, 5, 8192}, {0x2BB510DE, 600, 2430, 12481, 131072, 5, 512},
};

const struct datasheet *telemetry_datasheet(const struct gpu *gpu)
{
    for (unsigned row = 0; row < sizeof datasheets / sizeof datasheets[0]; row++)
        if (datasheets[row].pci_device_id == gpu_variant(gpu)->pci_device_id)
            return &datasheets[row];
    return NULL;
}

static unsigned busy_percent(const struct node *node, unsigned index)
{
    struct process_scope scope = {.gpu = index};
    unsigned percent = 0;
    for (unsigned row = 0; row < node->process_count && percent < 100; row++) {
        const struct process *process = &node->processes[row];
        if (process_in_scope(process, &scope) && process->memory_bytes != 0 && process_is_alive(process))
            percent += PERCENT_A_PROCESS;
    }
    return percent;
}

struct activity telemetry_activity(const struct node *node, const struct gpu *gpu, const struct datasheet *sheet)
{
    struct memory_use use = memory_use(node, gpu, NULL);
    unsigned busy = busy_percent(node, gpu_index(node, gpu));
    struct activity activity = {.utilization_percent = busy, .temperature_celsius = IDLE_CELSIUS};
    activity.memory_percent = use.known ? (unsigned)(use.used * 100 / use.total) : 0;
    activity.temperature_celsius += busy * CELSIUS_OF_FULL_LOAD / 100;
    if (sheet != NULL) {
        unsigned limit = sheet->power_limit_watts * 1000, idle = limit / 8;
        activity.power_milliwatts = idle + (limit - idle) / 100 * busy;
        activity.graphics_clock_mhz = busy != 0 ? sheet->graphics_clock_mhz : IDLE_CLOCK_MHZ;
    }
    return activity;
}
