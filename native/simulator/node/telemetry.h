/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of a product that MIG does not need and monitors do: representative, from public data sheets. */
#ifndef HAMI_SIM_TELEMETRY_H
#define HAMI_SIM_TELEMETRY_H

#include "node/node.h"

enum { TELEMETRY_MIN_POWER_WATTS = 100 };

struct datasheet {
    unsigned pci_device_id, power_limit_watts, graphics_clock_mhz, memory_clock_mhz, bar1_mib, pcie_generation;
    unsigned memory_bus_bits;
};

/* NULL where no data sheet was at hand: those questions are not supported. */
const struct datasheet *telemetry_datasheet(const struct gpu *gpu);

/* How busy a GPU is, from the processes on it: the same answer for the same state. */
struct activity {
    unsigned utilization_percent, memory_percent, temperature_celsius, power_milliwatts, graphics_clock_mhz;
};
struct activity telemetry_activity(const struct node *node, const struct gpu *gpu, const struct datasheet *sheet);

#endif
