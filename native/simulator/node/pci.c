/* SPDX-License-Identifier: Apache-2.0 */
#include "node/pci.h"

#include <stdio.h>

enum { FIRST_BUS = 7, BUS_STEP = 7, NOWHERE = 0xFFFFFFFF };

unsigned pci_bus(unsigned gpu_index)
{
    return FIRST_BUS + gpu_index * BUS_STEP;
}

bool pci_parse(const char *text, unsigned *gpu_index)
{
    unsigned domain = 0, bus = 0, device = 0, function = 0;
    int used = 0;
    bool full = sscanf(text, "%8x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &used) == 4 && text[used] == '\0';
    if (!full) {
        function = 0;
        full = sscanf(text, "%8x:%2x:%2x%n", &domain, &bus, &device, &used) == 3 && text[used] == '\0';
    }
    if (!full) {
        domain = 0;
        full = sscanf(text, "%2x:%2x.%1x%n", &bus, &device, &function, &used) == 3 && text[used] == '\0';
    }
    if (!full) {
        function = 0;
        full = sscanf(text, "%2x:%2x%n", &bus, &device, &used) == 2 && text[used] == '\0';
    }
    bool somewhere =
        domain == 0 && device == 0 && function == 0 && bus >= FIRST_BUS && (bus - FIRST_BUS) % BUS_STEP == 0;
    *gpu_index = somewhere ? (bus - FIRST_BUS) / BUS_STEP : NOWHERE;
    return full;
}

void pci_format(unsigned gpu_index, char legacy[16], char full[32])
{
    snprintf(legacy, 16, "%04X:%02X:00.0", 0u, pci_bus(gpu_index));
    snprintf(full, 32, "%08X:%02X:00.0", 0u, pci_bus(gpu_index));
}
