/* SPDX-License-Identifier: Apache-2.0 */
/* Where GPUs sit on the simulated PCI bus: one formula. */
#ifndef HAMI_SIM_PCI_H
#define HAMI_SIM_PCI_H

#include <stdbool.h>

unsigned pci_bus(unsigned gpu_index);

/* The GPU index that an address means, for example `00000000:07:00.0` or `07:00`; an address where no GPU sits gives
 * an index beyond every node. False if it is no address. */
bool pci_parse(const char *text, unsigned *gpu_index);

void pci_format(unsigned gpu_index, char legacy[16], char full[32]);

#endif
