# SPDX-License-Identifier: Apache-2.0
"""Which NUMA node a PCI device is nearest to, as the kernel says it."""

from hamid.node.paths import Paths


def node_of(paths: Paths, pci_bus_id: str | None) -> int | None:
    """The device's NUMA node; None where the kernel names none."""
    if pci_bus_id is None:
        return None
    domain, _, rest = pci_bus_id.lower().partition(":")
    # NVML writes an eight-digit domain, the kernel one of four digits.
    path = paths.under(f"/sys/bus/pci/devices/{domain[-4:]}:{rest}/numa_node")
    try:
        with open(path, encoding="ascii") as file:
            node = int(file.read())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None
